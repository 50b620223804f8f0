"""The multi-scale VQ-VAE: log-mels into a small grid of code words and back.

Layout: the sound generator of Liu et al., "Conditional sound generation using neural discrete time-frequency
representation learning", MLSP 2021, which is the baseline of DCASE 2023 Task 7. Shapes: B clips, H rows and W columns of
the grid, row 0 the lowest bands.
"""

from itertools import pairwise
from typing import NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from foleyray.config import Config, UserError
from foleyray.modules.scaling import MelScale
from foleyray.modules.schedules import Constant, Schedule
from foleyray.modules.texture import Texture
from foleyray.modules.vq import Quantised, Quantiser


class TokenizerSettings(Config):
    """The defaults are the baseline's: 2,207,297 weights, a grid of 20 x 86 for a mel of 80 x 344."""

    channels: int = Field(128, ge=2, multiple_of=2)
    residual_channels: int = Field(32, ge=1)
    residual_blocks: int = Field(2, ge=0)
    kernels: tuple[int, ...] = Field((2, 4, 6, 8), min_length=1, description="one branch of the encoder for each; even")
    halvings: int = Field(2, ge=2, le=4, description="how often bands and frames are halved on the way to the grid")
    words: int = Field(512, ge=2, le=32_768)
    width: int = Field(64, ge=1, description="numbers in a word")
    decay: float = Field(0.99, ge=0, lt=1, description="of the averages that the codebook follows")
    commitment: float = Field(0.25, ge=0, description="weight of the commitment term")
    restart_after: int | None = Field(None, ge=1, description="batches after which an unused word is put onto a latent")
    class_weight: float | None = Field(None, gt=0, description="weight of a class head's cross-entropy; None: no head")
    scale: MelScale | None = Field(None, description="log-mels into -1..1 for the nets; None: the nets see them as they are")
    learning_rate: float = Field(3e-4, gt=0)
    schedule: Schedule = Constant()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if any(kernel < 2 or kernel % 2 for kernel in self.kernels):
            raise ValueError(f"kernels {self.kernels} must be even, so that every branch halves alike")
        return self

    def grid(self, bands: int, frames: int) -> tuple[int, int]:
        """Rows and columns of the codes of a mel; raises UserError where the mel cannot be halved so often."""
        factor = 2**self.halvings
        if bands % factor or frames % factor:
            raise UserError(
                f"a mel of {bands} bands and {frames} frames cannot be halved {self.halvings} times; "
                f"both must be multiples of {factor}: change the mel, the clip or the tokenizer's 'halvings'"
            )
        return bands // factor, frames // factor


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Encoder(nn.Module):
    """mel (B, 1, bands, frames) -> (B, channels, H, W), the sum of branches that look through windows of different sizes."""

    def __init__(self, settings: TokenizerSettings) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_branch(settings, kernel) for kernel in settings.kernels)

    def forward(self, mel: Tensor) -> Tensor:
        return torch.stack([branch(mel) for branch in self.branches]).sum(dim=0)


def _branch(settings: TokenizerSettings, kernel: int) -> nn.Sequential:
    channels, layers = settings.channels, list[nn.Module]()
    widths = [1, channels // 2, *[channels] * (settings.halvings - 1)]
    for ins, outs in pairwise(widths):
        layers += [nn.Conv2d(ins, outs, kernel, stride=2, padding=kernel // 2 - 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, 3, padding=1), *_residuals(settings), nn.ReLU())


def _decoder(settings: TokenizerSettings) -> nn.Sequential:
    """words (B, width, H, W) -> mel (B, 1, bands, frames)"""
    channels, layers = settings.channels, list[nn.Module]()
    widths = [*[channels] * (settings.halvings - 1), channels // 2, 1]
    for ins, outs in pairwise(widths):
        layers += [nn.ReLU(), nn.ConvTranspose2d(ins, outs, 4, stride=2, padding=1)]
    return nn.Sequential(nn.Conv2d(settings.width, channels, 3, padding=1), *_residuals(settings), *layers)


def _residuals(settings: TokenizerSettings) -> list[nn.Module]:
    return [ResidualBlock(settings.channels, settings.residual_channels) for _ in range(settings.residual_blocks)]


class Reading(NamedTuple):
    """What the tokenizer makes of a batch of mels, all that its losses need."""

    mel: Tensor
    """float32 (B, bands, frames), the reconstruction."""
    latents: Tensor
    """(B, width, H, W), not yet quantised."""
    quantised: Quantised
    logits: Tensor | None
    """(B, classes) of the class head where there is one."""


class Tokenizer(nn.Module):
    def __init__(self, settings: TokenizerSettings, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = Encoder(settings)
        self.projection = nn.Conv2d(settings.channels, settings.width, 1)
        self.quantiser = Quantiser(settings.words, settings.width, settings.decay, settings.restart_after)
        self.decoder = _decoder(settings)
        self.texture = Texture(settings.words, 2**settings.halvings, settings.decay)
        self.classes = nn.Linear(settings.width, num_classes) if settings.class_weight else None

    def forward(self, mel: Tensor) -> Reading:
        """mel (B, bands, frames) -> its reconstruction and what lies on the way; the codebook is left as it is."""
        latents = self.latents(mel)
        quantised = self.quantiser(latents)
        # The head reads the latent before it is quantised: behind the words its gradient would be another.
        logits = self.classes(latents.mean(dim=(2, 3))).float() if self.classes else None
        return Reading(self._mel(quantised.latents), latents, quantised, logits)

    def latents(self, mel: Tensor) -> Tensor:
        """mel (B, bands, frames) -> (B, width, H, W)"""
        rows, columns = self.settings.grid(*mel.shape[1:])
        scale = self.settings.scale
        latents: Tensor = self.projection(self.encoder((scale.to_unit(mel) if scale else mel).unsqueeze(1)))
        assert latents.shape[2:] == (rows, columns)
        return latents

    @torch.no_grad()
    def encode(self, mel: Tensor) -> Tensor:
        """mel (B, bands, frames) -> codes int64 (B, H, W)"""
        assert not self.training, "codes are extracted in evaluation mode"
        return self.quantiser.nearest(self.latents(mel))

    def decode(self, codes: Tensor) -> Tensor:
        """codes (B, H, W) -> log-mel float32 (B, bands, frames), which may lie below the floor of the front end."""
        return self._mel(self.quantiser.lookup(codes))

    def _mel(self, words: Tensor) -> Tensor:
        """words (B, width, H, W) -> log-mel float32 (B, bands, frames)"""
        mel, scale = self.decoder(words).squeeze(1).float(), self.settings.scale
        # Not cut off at the floor, unlike `to_mel`: the error of what lies below it must keep its gradient.
        return scale.from_unit(mel) if scale else mel
