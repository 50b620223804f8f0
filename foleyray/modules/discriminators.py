"""The discriminators of HiFi-GAN (Kong, Kim and Bae, 2020, section 2.3): one listens by periods, one by scales.

Both have one setting, `width`, by which every layer grows; the paper's is 32.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

SLOPE = 0.1
PERIODS = (2, 3, 5, 7, 11)
SCALES = 3

Judgement = tuple[Tensor, list[Tensor]]
"""The scores (B, places) of one discriminator, and the outputs of all its layers, the last one among them."""


class MultiPeriodDiscriminator(nn.Module):
    """wave (B, T) -> a judgement for each period; 41.11 M parameters at width 32, 0.01 M of them lengths of weights."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(PeriodDiscriminator(width, period) for period in PERIODS)

    def forward(self, wave: Tensor) -> list[Judgement]:
        return [discriminator(wave) for discriminator in self.discriminators]


class MultiScaleDiscriminator(nn.Module):
    """wave (B, T) -> a judgement for the wave, and for its averages over 2 and over 4 samples; 29.62 M parameters at width 32.

    `width` is a multiple of 4.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(ScaleDiscriminator(width, is_spectral=scale == 0) for scale in range(SCALES))

    def forward(self, wave: Tensor) -> list[Judgement]:
        found = []
        for discriminator in self.discriminators:
            found.append(discriminator(wave))
            wave = F.avg_pool1d(wave.unsqueeze(1), 4, 2, padding=2).squeeze(1)
        return found


class PeriodDiscriminator(nn.Module):
    """wave (B, T) -> judgement of its samples `period` apart, each phase by itself."""

    def __init__(self, width: int, period: int) -> None:
        super().__init__()
        self.period = period
        channels = [1, width, 4 * width, 16 * width, 32 * width, 32 * width]
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (5, 1), (3 if index < 4 else 1, 1), padding=(2, 0)))
            for index, (before, after) in enumerate(pairwise(channels))
        )
        self.conv_post = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor) -> Judgement:
        whole = F.pad(wave.unsqueeze(1), (0, -wave.shape[-1] % self.period), "reflect")
        return _judged(whole.reshape(len(whole), 1, -1, self.period), self.convs, self.conv_post)


class ScaleDiscriminator(nn.Module):
    """wave (B, T) -> judgement by grouped convolutions over all samples."""

    def __init__(self, width: int, is_spectral: bool) -> None:
        super().__init__()
        norm = spectral_norm if is_spectral else weight_norm
        channels = [1, 4 * width, 4 * width, 8 * width, 16 * width, 32 * width, 32 * width, 32 * width]
        kernels, strides, groups = (15, 41, 41, 41, 41, 41, 5), (1, 2, 2, 4, 4, 1, 1), (1, 4, 16, 16, 16, 16, 1)
        self.convs = nn.ModuleList(
            norm(nn.Conv1d(before, after, kernel, stride, padding=kernel // 2, groups=group))
            for (before, after), kernel, stride, group in zip(pairwise(channels), kernels, strides, groups, strict=True)
        )
        self.conv_post = norm(nn.Conv1d(channels[-1], 1, 3, padding=1))

    def forward(self, wave: Tensor) -> Judgement:
        return _judged(wave.unsqueeze(1), self.convs, self.conv_post)


def _judged(x: Tensor, convs: nn.ModuleList, last: nn.Module) -> Judgement:
    features = []
    for conv in convs:
        x = F.leaky_relu(conv(x), SLOPE)
        features.append(x)
    x = last(x)
    return x.flatten(1), [*features, x]
