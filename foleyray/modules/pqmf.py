"""Pseudo-quadrature mirror filters: a wave split into bands of equal width, each at as much lower a rate.

Analysis only: the settings of Avocodo are no perfect reconstruction, and nothing here puts bands together again.
"""

from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Pqmf(nn.Module):
    """wave (B, N) -> (B, bands, N / bands), the lowest band first, in float32; N is a multiple of `bands`.

    A low-pass prototype, cut off at `cutoff` of half the rate by a Kaiser window of `beta` (Lin and Vaidyanathan, 1998), is
    moved to the middle of each band (Nguyen, 1994).
    """

    filters: Tensor

    def __init__(self, bands: int, taps: int, cutoff: float, beta: float) -> None:
        super().__init__()
        self.bands, self.taps = bands, taps
        time = torch.arange(taps + 1, dtype=torch.float64) - taps / 2
        window = torch.kaiser_window(taps + 1, periodic=False, beta=beta, dtype=torch.float64)
        prototype = window * cutoff * torch.sinc(cutoff * time)
        band = torch.arange(bands, dtype=torch.float64).unsqueeze(1)
        # The phases of neighbours differ by a right angle, as a later synthesis would need it.
        carrier = torch.cos((2 * band + 1) * pi / (2 * bands) * time + (1 - 2 * (band % 2)) * pi / 4)
        self.register_buffer("filters", (2 * prototype * carrier).float().unsqueeze(1), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        assert wave.shape[-1] % self.bands == 0, f"{wave.shape[-1]} samples cannot be split evenly into {self.bands} bands"
        # In bf16 what a stop band lets through would be as loud as a quiet band.
        with torch.autocast(wave.device.type, enabled=False):
            return F.conv1d(wave.float().unsqueeze(1), self.filters, stride=self.bands, padding=self.taps // 2)
