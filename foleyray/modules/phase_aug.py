"""PhaseAug (Lee, Han, Cho and Jung, 2023): waves whose phases are turned at random before discriminators hear them.

The magnitudes stay, so a discriminator cannot learn the one phase that a real clip happens to have.
"""

from math import pi, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FFT, HOP = 1024, 256
VARIANCE = 6.0
LARGEST_OFFSET = 2.0
TAPS, CUTOFF, HALF_WIDTH = 128, 0.05, 0.012
"""Of the low-pass that smooths along frequency: cut-off and half of its transition band, in cycles for each bin."""


class PhaseAug(nn.Module):
    """One smooth rotation of all frames of a clip, in float32 under any autocast.

    Each frequency is moved in time by some samples: an offset of the whole clip (up to 2), and smoothed noise.
    """

    window: Tensor
    smoothing: Tensor
    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(FFT, periodic=True), persistent=False)
        self.register_buffer("smoothing", _low_pass(TAPS, CUTOFF, HALF_WIDTH), persistent=False)
        self.register_buffer("frequencies", torch.arange(FFT // 2 + 1) * (2 * pi / FFT), persistent=False)

    def draw(self, batch: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Rotations (batch, bins) in radians; `device` is the generator's."""
        noise = torch.randn(batch, 1, FFT // 2 + 1, generator=generator, device=device)
        offset = 2 * torch.rand(batch, 1, 1, generator=generator, device=device) - 1
        rough = F.pad(sqrt(VARIANCE) * noise + LARGEST_OFFSET * offset, ((TAPS - 1) // 2, TAPS // 2))
        with torch.autocast(device.type, enabled=False):
            samples = F.conv1d(rough, self.smoothing.to(device).view(1, 1, -1)).squeeze(1)
        return samples * self.frequencies.to(device)

    def forward(self, wave: Tensor, rotation: Tensor) -> Tensor:
        """wave (M * B, N), N over 512, and rotation (B, bins) -> (M * B, N).

        All M waves of a clip are turned alike: `real, made = augment(torch.cat([real, made]), rotation).chunk(2)`.
        """
        repeats, rest = divmod(len(wave), len(rotation))
        assert not rest, f"{len(wave)} waves cannot share {len(rotation)} rotations evenly"
        with torch.autocast(wave.device.type, enabled=False):
            window = self.window.to(wave.device)
            spectrum = torch.stft(wave.float(), FFT, HOP, window=window, return_complex=True)
            turn = torch.polar(torch.ones_like(rotation), rotation).repeat(repeats, 1)
            return torch.istft(spectrum * turn.unsqueeze(2), FFT, HOP, window=window, length=wave.shape[1])


def _low_pass(taps: int, cutoff: float, half_width: float) -> Tensor:
    """A windowed sinc of unit gain, its window by Kaiser's formulas (1974) for that transition band, in cycles a sample."""
    attenuation = 2.285 * (taps - 1) * 4 * pi * half_width + 7.95
    beta = 0.1102 * (attenuation - 8.7)  # for more than 50 dB; here they are 52
    time = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    impulse = torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64) * torch.sinc(2 * cutoff * time)
    return (impulse / impulse.sum()).float()
