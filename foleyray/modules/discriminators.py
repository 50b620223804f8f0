"""The discriminators of HiFi-GAN (Kong, Kim and Bae, 2020, section 2.3), by periods and by scales, and those of Avocodo.

Avocodo's (Bak et al., 2022) hear a wave at lower rates beside its decoder's own ones, and a wave split into bands.
All have one setting, `width`, by which every layer grows; the papers' are 32 and 16.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from foleyray.config import UserError
from foleyray.modules.pqmf import Pqmf

SLOPE = 0.1
PERIODS = (2, 3, 5, 7, 11)
SCALES = 3

AVOCODO_SLOPE = 0.2
LOWER_BANKS = ((4, 192, 0.13, 10.0), (2, 256, 0.25, 10.0))
"""Bands, taps, cut-off and beta of the banks whose first bands are the wave at a quarter and at half of the rate."""
RATE_KERNELS = ((7, 11), (11, 21), (15, 41))
"""Of the first and of the grouped convolutions at each rate, coarse to fine."""
SUB_BANK, FINE_BANK = (16, 256, 0.03, 10.0), (64, 256, 0.1, 9.0)
SUB_BANDS = ((6, 7, ((5, 7, 11),) * 5), (11, 5, ((3, 5, 7),) * 5), (16, 3, ((1, 2, 3),) * 5))
"""Bands, kernel, and the dilations of each layer."""
FINE_KERNEL, FINE_DILATIONS = 5, (*((1, 2, 3),) * 3, *((2, 3, 5),) * 2)

Judgement = tuple[Tensor, list[Tensor]]
"""The scores (B, places) of one discriminator, and its layers' outputs; HiFi-GAN's has the scores among them, Avocodo's not."""


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


class CollaborativeMultiBandDiscriminator(nn.Module):
    """Judges a wave at a quarter of its rate, at half of it, and in full; 16.45 M parameters at width 16.

    `width` is a multiple of 4.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.banks = nn.ModuleList(Pqmf(*bank) for bank in LOWER_BANKS)
        self.discriminators = nn.ModuleList(RateDiscriminator(width, *kernels) for kernels in RATE_KERNELS)

    def forward(self, full: Tensor, lower: Sequence[Tensor] = ()) -> list[Judgement]:
        """full (B, N), N a multiple of 4 -> three judgements, coarse to fine.

        With a decoder's own waves at the lower rates, (B, N / 4) and (B, N / 2), the two coarse judgements are of 2B waves:
        those first, then the lowest bands of `full`. Features of B real waves, `feature.repeat(2, 1, 1)`, belong to them.
        """
        bands = [bank(full)[:, 0] for bank in self.banks]
        coarse = [torch.cat(pair) for pair in zip(lower, bands, strict=True)] if lower else bands
        return [discriminator(wave) for discriminator, wave in zip(self.discriminators, [*coarse, full], strict=True)]


class SubBandDiscriminator(nn.Module):
    """wave (B, segment) -> judgements of its lowest 6, 11 and all 16 bands over time, and of 64 bands along frequency.

    The last one has the moments as its channels, so the length of a wave is fixed. 10.62 M parameters at width 16.
    Raises UserError for a segment that is no multiple of 64.
    """

    def __init__(self, width: int = 16, segment: int = 8192) -> None:
        super().__init__()
        num_moments, rest = divmod(segment, FINE_BANK[0])
        if rest:
            raise UserError(f"a segment of {segment} samples cannot be split into 64 bands; choose a multiple of 64")
        self.segment = segment
        self.bank, self.fine_bank = Pqmf(*SUB_BANK), Pqmf(*FINE_BANK)
        self.discriminators = nn.ModuleList(
            BandDiscriminator(bands, 4 * width, kernel, dilations) for bands, kernel, dilations in SUB_BANDS
        )
        self.discriminators.append(BandDiscriminator(num_moments, 2 * width, FINE_KERNEL, FINE_DILATIONS))

    def forward(self, full: Tensor) -> list[Judgement]:
        assert full.shape[-1] == self.segment, f"{full.shape[-1]} samples, but the sub-band discriminator hears {self.segment}"
        bands = self.bank(full)
        inputs = [*(bands[:, :count] for count, _, _ in SUB_BANDS), self.fine_bank(full).transpose(1, 2)]
        return [discriminator(x) for discriminator, x in zip(self.discriminators, inputs, strict=True)]


class RateDiscriminator(nn.Module):
    """wave (B, T) at one of the rates -> judgement by convolutions, the middle ones in groups of four channels."""

    def __init__(self, width: int, first: int, middle: int) -> None:
        super().__init__()
        channels = [1, width, 4 * width, 16 * width, 64 * width, 64 * width, 64 * width]
        kernels, strides = (first, *(middle,) * 4, 5), (1, 1, 4, 4, 4, 1)
        groups = (1, *(before // 4 for before in channels[1:-2]), 1)
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv1d(before, after, kernel, stride, padding=kernel // 2, groups=group))
            for (before, after), kernel, stride, group in zip(pairwise(channels), kernels, strides, groups, strict=True)
        )
        self.conv_post = weight_norm(nn.Conv1d(channels[-1], 1, 3))

    def forward(self, wave: Tensor) -> Judgement:
        features = _features(wave.unsqueeze(1), self.convs, AVOCODO_SLOPE)
        return self.conv_post(features[-1]).flatten(1), features


class BandDiscriminator(nn.Module):
    """x (B, channels, places) -> judgement by layers of several dilations each."""

    def __init__(self, channels: int, width: int, kernel: int, dilations: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width, 4 * width, 4 * width]
        self.convs = nn.ModuleList(
            MultiDilatedConv(before, after, kernel, stride, several)
            for (before, after), stride, several in zip(pairwise(widths), (1, 1, 3, 3, 1), dilations, strict=True)
        )
        self.conv_post = weight_norm(nn.Conv1d(widths[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> Judgement:
        features = _features(x, self.convs, AVOCODO_SLOPE)
        return self.conv_post(features[-1]).flatten(1), features


class MultiDilatedConv(nn.Module):
    """x (B, before, T) -> (B, after, T / stride): convolutions of several dilations, added, then one with the stride."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, dilations: Iterable[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv1d(before, after, kernel, dilation=dilation, padding=dilation * (kernel // 2)))
            for dilation in dilations
        )
        self.conv_post = weight_norm(nn.Conv1d(after, after, 3, stride, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        first, *others = (F.leaky_relu(conv(x), AVOCODO_SLOPE) for conv in self.convs)
        out: Tensor = self.conv_post(sum(others, first))
        return out


def _judged(x: Tensor, convs: nn.ModuleList, last: nn.Module) -> Judgement:
    features = _features(x, convs, SLOPE)
    x = last(features[-1])
    return x.flatten(1), [*features, x]


def _features(x: Tensor, convs: nn.ModuleList, slope: float) -> list[Tensor]:
    features = []
    for conv in convs:
        x = F.leaky_relu(conv(x), slope)
        features.append(x)
    return features
