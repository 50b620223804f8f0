"""The posterior encoder: from a spectrogram to a normal distribution of latents, and a draw from it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from foleyray.systems.vifs.wavenet import WaveNet


class Posterior(NamedTuple):
    """Each float32 (B, hidden, T)."""

    z: Tensor
    mean: Tensor
    log_std: Tensor


class PosteriorEncoder(nn.Module):
    """spectrum (B, bins, T), linear magnitudes, and condition (B, hidden) -> a draw z and its distribution."""

    def __init__(self, num_bins: int, hidden: int, layers: int, kernel: int) -> None:
        super().__init__()
        self.pre = nn.Conv1d(num_bins, hidden, 1)
        self.wavenet = WaveNet(hidden, layers, kernel, condition=hidden)
        self.stats = nn.Conv1d(hidden, 2 * hidden, 1)

    def forward(self, spectrum: Tensor, condition: Tensor, generator: torch.Generator) -> Posterior:
        mean, log_std = self.stats(self.wavenet(self.pre(spectrum), condition)).float().chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return Posterior(mean + log_std.exp() * noise, mean, log_std)
