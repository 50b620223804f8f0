"""Generator and discriminator: BigGAN's residual blocks (Brock et al., 2019) on a grid of bands and frames.

Shapes: B clips, C channels, H bands, W frames of the grid at hand. Two identities save work and change no value:
a 3x3 convolution after nearest up-sampling is a transposed one with a smeared kernel, and a 3x3 convolution before
average pooling is a strided one with the same smeared kernel.
"""

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from foleyray.modules.labels import ConditionalBatchNorm2d
from foleyray.systems.contrastive_gan.config import GRID, STEPS, DiscriminatorLayout, GeneratorLayout, Step


def smear(kernel: Tensor, step: Step) -> Tensor:
    """(O, I, 3, 3) -> (O, I, h, w), the sum of the kernel over its shifts within `step`: 4 taps where the factor is 2."""
    for axis, factor in ((2, step[0]), (3, step[1])):
        pad = (0, 0, 0, 1) if axis == 2 else (0, 1)
        if factor == 2:
            kernel = F.pad(kernel, pad)
            kernel = kernel + kernel.roll(1, axis)
    return kernel


class UpConv(nn.Conv2d):
    """x (B, I, H, W) -> nearest up-sampling by `step`, then a 3x3 convolution."""

    def __init__(self, ins: int, outs: int, step: Step) -> None:
        super().__init__(ins, outs, 3, padding=1)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        kernel = smear(self.weight, self.step).flip(2, 3).transpose(0, 1)
        return F.conv_transpose2d(x, kernel, self.bias, self.step, padding=1)


class DownConv(nn.Conv2d):
    """x (B, I, H, W) -> a 3x3 convolution, then average pooling by `step`."""

    def __init__(self, ins: int, outs: int, step: Step) -> None:
        super().__init__(ins, outs, 3, padding=1)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        kernel = smear(self.weight, self.step) / (self.step[0] * self.step[1])
        return F.conv2d(x, kernel, self.bias, self.step, padding=1)


class Attention(nn.Module):
    """Self-attention over the grid (Zhang et al., 2019), keys and values pooled 2x2; begins as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner, values = max(1, channels // 8), max(1, channels // 2)
        self.queries, self.keys = (nn.Conv2d(channels, inner, 1, bias=False) for _ in range(2))
        self.values, self.out = nn.Conv2d(channels, values, 1, bias=False), nn.Conv2d(values, channels, 1, bias=False)
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        def rows(grid: Tensor) -> Tensor:
            return grid.flatten(2).transpose(1, 2)

        keys, values = (F.max_pool2d(part(x), 2) for part in (self.keys, self.values))
        found = F.scaled_dot_product_attention(rows(self.queries(x)), rows(keys), rows(values), scale=1.0)
        return x + self.strength * self.out(found.transpose(1, 2).reshape(len(x), -1, *x.shape[2:]))


class GeneratorBlock(nn.Module):
    def __init__(self, ins: int, outs: int, step: Step, condition: int, speckles: int) -> None:
        super().__init__()
        self.step = step
        self.norm1, self.norm2 = ConditionalBatchNorm2d(ins, condition), ConditionalBatchNorm2d(outs, condition)
        self.conv1, self.conv2 = UpConv(ins, outs, step), nn.Conv2d(outs, outs, 3, padding=1)
        self.skip = nn.Conv2d(ins, outs, 1)
        # Silent at first and free of spectral norm, so that every channel finds its own strength of noise.
        self.speckle = nn.Parameter(torch.zeros(outs, speckles, 1, 1)) if speckles else None

    def forward(self, x: Tensor, condition: Tensor, noise: Tensor | None) -> Tensor:
        """x (B, I, H, W), noise (B, N, H', W') -> (B, O, H', W')"""
        residual = self.conv1(F.relu(self.norm1(x, condition)))
        if self.speckle is not None and noise is not None:
            residual = residual + F.conv2d(noise, self.speckle)
        residual = self.conv2(F.relu(self.norm2(residual, condition)))
        # A 1x1 convolution and nearest up-sampling may change places; this order is cheaper.
        return residual + F.interpolate(self.skip(x), scale_factor=self.step, mode="nearest")


class Generator(nn.Module):
    """latent (B, num_latents), label (B,) -> mel (B, 1, bands, frames) in [-1, 1].

    The latent holds z, and behind it the speckle of every block where there is any.
    """

    def __init__(self, layout: GeneratorLayout, shape: Step, num_classes: int) -> None:
        super().__init__()
        steps = STEPS[: len(STEPS) - layout.fold]
        channels = [min(layout.width << level, layout.max_channels) for level in range(len(steps), -1, -1)]
        self.chunk, self.latent, self.fold = layout.latent // (len(steps) + 1), layout.latent, 2**layout.fold
        self.grid = (shape[0] // GRID[0], shape[1] // GRID[1])
        self.speckles = _speckles(self.grid, steps, self.fold) if layout.speckle else []
        self.classes = nn.Embedding(num_classes, layout.class_embedding)
        self.first = nn.Linear(self.chunk, channels[0] * self.grid[0] * self.grid[1])
        condition = self.chunk + layout.class_embedding
        self.blocks = nn.ModuleList(
            GeneratorBlock(ins, outs, step, condition, self.speckles[index][0] if layout.speckle else 0)
            for index, ((ins, outs), step) in enumerate(zip(pairwise(channels), steps, strict=True))
        )
        self.attention = Attention(channels[2]) if layout.attention else None
        self.norm = nn.BatchNorm2d(channels[-1])
        self.last = nn.Conv2d(channels[-1], self.fold**2, 3, padding=1)
        prepare(self, layout.spectral_norm)

    @property
    def num_latents(self) -> int:
        return self.latent + sum(prod(speckle) for speckle in self.speckles)

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return torch.tanh(self.unbounded(latent, label))

    def unbounded(self, latent: Tensor, label: Tensor) -> Tensor:
        """The mel before its tanh, (B, 1, bands, frames)."""
        z, *speckles = torch.split(latent, [self.latent, *map(prod, self.speckles)], dim=1)
        begin, *chunks = torch.split(z, self.chunk, dim=1)
        embedded = self.classes(label)
        x = self.first(begin).reshape(len(z), -1, *self.grid)
        for index, (block, chunk) in enumerate(zip(self.blocks, chunks, strict=True)):
            noise = speckles[index].reshape(len(z), *self.speckles[index]) if speckles else None
            x = block(x, torch.cat([chunk, embedded], dim=1), noise)
            if index == 1 and self.attention is not None:
                x = self.attention(x)
        return F.pixel_shuffle(self.last(F.relu(self.norm(x))), self.fold)


class DiscriminatorBlock(nn.Module):
    def __init__(self, ins: int, outs: int, step: Step, is_strided: bool, is_first: bool) -> None:
        super().__init__()
        self.step, self.is_first = step, is_first
        if is_strided:
            self.conv1, self.conv2 = nn.Conv2d(ins, outs, 3, step, padding=1), nn.Conv2d(outs, outs, 3, padding=1)
        else:
            self.conv1, self.conv2 = nn.Conv2d(ins, outs, 3, padding=1), DownConv(outs, outs, step)
        self.skip = nn.Conv2d(ins, outs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, I, H, W) -> (B, O, H / step, W / step); the first block reads the mel as it is"""
        residual = self.conv2(F.relu(self.conv1(x if self.is_first else F.relu(x))))
        return residual + self.skip(F.avg_pool2d(x, self.step))


class Discriminator(nn.Module):
    """D1 (`features`), its adversarial head D2 (`score`), and the projection and class table of the contrastive losses."""

    def __init__(self, layout: DiscriminatorLayout, num_classes: int) -> None:
        super().__init__()
        self.fold, self.pooled = 2**layout.fold, layout.pooled
        steps: list[Step] = [*reversed(STEPS[: len(STEPS) - layout.fold]), (1, 1)]
        widths = [min(layout.width << level, layout.max_channels) for level in range(len(steps) + 1)]
        # Patches get a convolution of their own before the first block; without patches the first block reads the mel.
        channels = widths if layout.fold else [1, *widths[:-1]]
        body: list[nn.Module] = [
            DiscriminatorBlock(ins, outs, step, layout.strided, is_first=ins == 1)
            for (ins, outs), step in zip(pairwise(channels), steps, strict=True)
        ]
        if layout.attention:
            body.insert(2 - layout.fold, Attention(channels[2 - layout.fold]))
        if layout.fold:
            body.insert(0, nn.Conv2d(self.fold**2, channels[0], 3, padding=1))
        self.body = nn.Sequential(*body)
        width = channels[-1]
        self.adversarial = nn.Linear(width, 1)
        self.hidden, self.projection = nn.Linear(width, width), nn.Linear(width, layout.projection)
        self.pairing = nn.Linear(num_classes, width, bias=False) if layout.adv_projection else None
        prepare(self, layout.spectral_norm)
        self.classes = nn.Embedding(num_classes, layout.projection)

    def forward(self, mel: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """mel (B, 1, bands, frames) in [-1, 1], label (B,) -> score (B,), embedding (B, projection) of unit norm."""
        features = self.features(mel)
        return self.score(features, label), self.embed(features)

    def features(self, mel: Tensor) -> Tensor:
        """mel (B, 1, bands, frames) -> (B, C), the last block summed over the grid, or its mean as large as a 4 x 4 sum."""
        x = F.relu(self.body(F.pixel_unshuffle(mel, self.fold)))
        return x.mean(dim=(2, 3)) * 16 if self.pooled == "mean" else x.sum(dim=(2, 3))

    def score(self, features: Tensor, label: Tensor) -> Tensor:
        score: Tensor = self.adversarial(features).squeeze(1)
        if self.pairing is None:
            return score
        return score + (features * F.embedding(label, self.pairing.weight.T)).sum(dim=1)

    def embed(self, features: Tensor) -> Tensor:
        return F.normalize(self.projection(F.relu(self.hidden(features))), dim=1)

    def proxies(self, label: Tensor) -> Tensor:
        """label (B,) -> the class table's vectors (B, projection), of unit norm."""
        return F.normalize(self.classes(label), dim=1)


def prepare(net: nn.Module, is_bounded: bool) -> None:
    """Orthogonal weights, and spectral norm (Miyato et al., 2018) on every map of `net` where it is wanted."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if is_bounded:
                spectral_norm(module)


def _speckles(grid: Step, steps: tuple[Step, ...], fold: int) -> list[tuple[int, int, int]]:
    """The noise each block takes: channels, height, width. The finest block has one number for each point of its patches."""
    (height, width), shapes = grid, []
    for up, along in steps:
        height, width = height * up, width * along
        shapes.append((1, height, width))
    shapes[-1] = (fold**2, height, width)
    return shapes
