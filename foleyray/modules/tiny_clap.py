"""A joint embedding of sounds and sentences that is small enough to be trained on the corpus itself."""

import re
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.audio.mel import Mel
from foleyray.clips import MelSpec
from foleyray.config import Config, UserError, nearest
from foleyray.modules.prompts import Prompts

MEAN, SPREAD = -5.0, 4.0
"""Of log-mels, roughly: any constants that bring them near to 0 and 1 would do."""


class TinyClapSettings(Config):
    """Two small towers and how their stage `clap` trains them."""

    kind: Literal["tiny"] = "tiny"
    prompts: Prompts = Field({}, description="class -> its sentence, or a YAML file of them")
    mel: MelSpec = Field(MelSpec(hop=512, bands=64, high_hz=10_000.0), description="what its audio tower sees")
    dim: int = Field(64, ge=2, description="of the space that sounds and sentences share")
    channels: tuple[int, ...] = Field((16, 32, 64, 128), min_length=1, description="of the audio tower, halved after each")
    dropout: float = Field(0.2, ge=0, lt=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    sharpest: float = Field(30.0, gt=1, description="bound of the learnt inverse temperature")
    shift_seconds: float = Field(1.0, ge=0, description="largest shift of a clip in training, round its end")
    gain_db: float = Field(6.0, ge=0, description="largest gain or loss of a clip in training")


class TinyClap(nn.Module):
    """Waves at `sample_rate_hz`, and sentences of known words, into one space; every vector is of unit length."""

    def __init__(self, settings: TinyClapSettings, sentences: Sequence[str]) -> None:
        """The words of `sentences` are its vocabulary."""
        super().__init__()
        self.dim, self.sample_rate_hz = settings.dim, settings.mel.sample_rate_hz
        self.audio, self.text = AudioTower(settings), TextTower(settings.dim, sentences)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())  # where CLIP and CLAP begin

    def embed_audio(self, wave: Tensor) -> Tensor:
        """wave (B, T) -> float32 (B, dim)."""
        return F.normalize(self.audio(wave).float(), dim=1)

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> float32 (N, dim); raises UserError where it knows no word of a text, unless that is empty."""
        return F.normalize(self.text(texts).float(), dim=1)


class AudioTower(nn.Module):
    """wave (B, T) -> (B, dim): a log-mel, convolutions, mean and maximum over time of every band that is left."""

    def __init__(self, settings: TinyClapSettings) -> None:
        super().__init__()
        self.mel = Mel(settings.mel)
        ways = zip((1, *settings.channels), settings.channels, strict=False)
        self.blocks = nn.ModuleList(_block(*way) for way in ways)
        bands = settings.mel.bands
        for _ in settings.channels:
            bands = -(-bands // 2)
        width = settings.channels[-1] * bands
        self.head = nn.Sequential(nn.Dropout(settings.dropout), nn.Linear(2 * width, settings.dim))

    def forward(self, wave: Tensor) -> Tensor:
        with torch.autocast(wave.device.type, enabled=False):
            x = (self.mel(wave.float())[:, None] - MEAN) / SPREAD
        for block in self.blocks:
            x = block(x)
        x = x.flatten(1, 2)
        vectors: Tensor = self.head(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1))
        return vectors


def _block(channels: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AvgPool2d(2, ceil_mode=True),
    )


class TextTower(nn.Module):
    """Texts -> (N, dim): the mean of their words' vectors, zero for no words, through a small network with bias."""

    def __init__(self, dim: int, sentences: Sequence[str]) -> None:
        super().__init__()
        self.vocabulary = sorted({word for sentence in sentences for word in words(sentence)})
        self.vectors = nn.EmbeddingBag(len(self.vocabulary), dim, mode="mean")
        self.head = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, texts: Sequence[str]) -> Tensor:
        known = [self._indices(text) for text in texts]
        device = self.vectors.weight.device
        starts = torch.tensor([0, *map(len, known[:-1])], device=device).cumsum(0)[: len(known)]
        indices = torch.tensor([index for found in known for index in found], dtype=torch.int64, device=device)
        read: Tensor = self.head(self.vectors(indices, starts))
        return read

    def _indices(self, text: str) -> list[int]:
        found = words(text)
        known = [self.vocabulary.index(word) for word in found if word in self.vocabulary]
        if text and not known:
            near = nearest(found[0], self.vocabulary) if found else ""
            raise UserError(f"this clap knows no word of '{text}'{near}; its words: {', '.join(self.vocabulary)}")
        return known


def words(text: str) -> list[str]:
    """In small letters, without what stands between them."""
    return re.findall(r"[^\W_]+", text.casefold())
