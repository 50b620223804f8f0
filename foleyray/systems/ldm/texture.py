"""What a decoder smooths away, as a spread for every cell of the log-mel, so that it can be put back as noise.

A decoder trained on absolute error gives the median of what a latent stands for. How far clips lie from it is learned here,
from the latent, without a gradient to autoencoder or decoder.
"""

from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST, MOST = log(1e-3), log(3.0)
"""Bounds of a spread, in nats of a log-mel; whole clips spread by about 2, and an untrained net must not shout."""


class Texture(nn.Module):
    """latents (B, C, T, F), not scaled -> log of the spread (B, bands, frames)"""

    def __init__(self, channels: int, width: int, factor: int, bands: int, frames: int) -> None:
        """`factor` is the number of bands, and of frames, that one latent stands for."""
        super().__init__()
        self.factor, self.bands, self.frames = factor, bands, frames
        self.body = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, factor**2, 1))

    def forward(self, latents: Tensor) -> Tensor:
        image = F.pixel_shuffle(self.body(latents).float(), self.factor)
        return image[:, 0, : self.frames, : self.bands].transpose(1, 2).clamp(LEAST, MOST)

    def loss(self, latents: Tensor, residual: Tensor) -> Tensor:
        """Surprise at a residual (B, bands, frames) that is normal with that spread, in nats a cell, up to a constant."""
        found = self(latents.detach())
        return (found + 0.5 * residual.detach().float().square() * torch.exp(-2 * found)).mean()
