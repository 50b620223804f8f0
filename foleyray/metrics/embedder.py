"""The contract of an embedder, the ear of every metric: waves in, one vector per frame out. Also finds one by name.

An embedder is a file beside this one with `build(recipe, weights, device, progress)`; the files do not know each other.
Resampling, batches and bookkeeping by clip belong to `embeddings.py`.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from foleyray.config import Config, UserError, nearest
from foleyray.progress import Progress, Quiet

RECIPES: dict[str, tuple[str, ...]] = {
    "logmel": ("active", "all"),
    "yamnet": ("active", "all"),
    "vggish": ("t7", "16k"),
    "panns": ("cnn14",),
    "clap": ("unfused", "folder", "laion"),
    "mert": ("last",),
}
"""Embedder -> its recipes; the first one is meant where a spec names none."""


@dataclass(frozen=True)
class Embedding:
    """What was heard in a batch: `frames` float32 (B, F, D), and `kept` bool (B, F), False where the recipe leaves one out.

    Every clip keeps at least one frame.
    """

    frames: Tensor
    kept: Tensor


class Embedder(Protocol):
    """Turns waves into frames. Numbers may be compared where name, recipe and weights_id are the same."""

    name: str
    recipe: str
    weights_id: str
    """8 hex digits of the weights, or of the settings where it has none."""
    note: str
    """One sentence that every table with its numbers prints."""
    sample_rate_hz: int
    """The rate of the waves it takes, which need not be the rate that its network believes in."""
    dim: int

    def embed(self, wave: Tensor) -> Embedding:
        """wave float32 (B, T) at `sample_rate_hz`, in [-1, 1], on any device."""
        ...


class EmbedderCard(Config):
    """Which embedder made some numbers; numbers of unlike cards do not compare."""

    name: str
    recipe: str
    weights_id: str
    note: str

    def __str__(self) -> str:
        return f"{self.name}:{self.recipe}@{self.weights_id}"


def card(embedder: Embedder) -> EmbedderCard:
    """The embedder in plain data, to travel with what it made."""
    return EmbedderCard(name=embedder.name, recipe=embedder.recipe, weights_id=embedder.weights_id, note=embedder.note)


def find(spec: str, weights: Path | str | None, device: torch.device | str, progress: Progress = Quiet()) -> Embedder:
    """The embedder of a spec `name` or `name:recipe`, such as `logmel`, `vggish` or `vggish:16k`.

    Published weights are looked for, or fetched, as `pretrained.weights` says. Raises UserError where the spec is unknown or
    the weights are missing or are not the published ones.
    """
    name, recipe = name_and_recipe(spec)
    place = Path(weights) if weights else None
    embedder: Embedder = import_module(f"foleyray.metrics.{name}").build(recipe, place, device, progress)
    return embedder


def name_and_recipe(spec: str) -> tuple[str, str]:
    """Of a spec; raises UserError where there is no such embedder or recipe."""
    specs = {f"{name}:{recipe}": (name, recipe) for name, recipes in RECIPES.items() for recipe in recipes}
    specs = {name: (name, recipes[0]) for name, recipes in RECIPES.items()} | specs
    if spec not in specs:
        raise UserError(f"unknown embedder '{spec}'{nearest(spec, specs)}; embedders: {', '.join(specs)}")
    return specs[spec]


def keep(silence: Tensor, limit: float | None) -> Tensor:
    """silence (B, F) in growing degree -> bool (B, F): frames up to `limit` (None: all), and one in any case."""
    if limit is None:
        return torch.ones_like(silence, dtype=torch.bool)
    return (silence <= limit).scatter(1, silence.argmin(dim=1, keepdim=True), True)
