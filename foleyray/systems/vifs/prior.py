"""The prior: from a class and the vector of a clip to a normal distribution of latents in every frame."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from foleyray.systems.vifs.layout import Layout
from foleyray.systems.vifs.wavenet import WaveNet

SLOPE = 0.2
"""Of the frame prior network's leaky ReLU."""


class Normal(NamedTuple):
    """Each float32 (B, hidden, T)."""

    mean: Tensor
    log_std: Tensor


class PriorEncoder(nn.Module):
    """summary (B, hidden), label (B,) -> mean and log std, one above the other (B, 2 * hidden, T).

    Has a class table of its own; what tells one frame from another is a learned table of positions, which begins at zero.
    """

    def __init__(self, layout: Layout, frames: int, num_classes: int) -> None:
        super().__init__()
        self.scale = layout.hidden**-0.5
        self.classes = nn.Embedding(num_classes, layout.hidden)
        nn.init.normal_(self.classes.weight, std=self.scale)
        self.positions = nn.Parameter(torch.zeros(1, layout.hidden, frames))
        self.wavenet = WaveNet(layout.hidden, layout.prior_layers, layout.kernel)
        self.stats = nn.Conv1d(layout.hidden, 2 * layout.hidden, 1)

    def forward(self, summary: Tensor, label: Tensor) -> Tensor:
        clip = self.classes(label) + summary * self.scale
        return self.stats(self.wavenet(clip.unsqueeze(2) + self.positions))


class FramePrior(nn.Module):
    """x (B, channels, T) -> the same: long residual convolutions, through which frames know of each other."""

    def __init__(self, channels: int, layers: int, kernel: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv1d(channels, channels, kernel, padding=kernel // 2)) for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = x + conv(F.leaky_relu(x, SLOPE))
        return x


class Prior(nn.Module):
    """summary (B, hidden), label (B,) -> the distribution of z_p in every frame."""

    def __init__(self, layout: Layout, frames: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = PriorEncoder(layout, frames, num_classes)
        self.frame_prior = FramePrior(2 * layout.hidden, layout.frame_prior_layers, layout.frame_prior_kernel)

    def forward(self, summary: Tensor, label: Tensor) -> Normal:
        return Normal(*self.frame_prior(self.encoder(summary, label)).float().chunk(2, dim=1))
