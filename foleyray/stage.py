"""The contract of what is trained. A stage never samples for quality and never touches files, devices or Ray."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim import Optimizer

from foleyray.config import Config

Batch = dict[str, Tensor]
"""Corpus columns by name, first axis the clip: `mel` float32 (B, bands, frames), `wave` float32 (B, T), `label` int64 (B,),
and what earlier stages made, whole numbers as int64 and others as float32."""

Losses = dict[str, Tensor]
"""Scalars by name; `loss` is the one that is minimised, the others are logged beside it."""


class Every(Config):
    """Checkpoints on a schedule: step `begin`, and every so many steps after it."""

    every: int = Field(ge=1)
    begin: int = Field(0, ge=0)

    def holds(self, step: int) -> bool:
        return step >= self.begin and (step - self.begin) % self.every == 0


class Training(Config):
    """How one stage is trained; the same settings for every stage of every system."""

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1, description="clips per optimizer step and worker, before accumulation")
    accumulate: int = Field(1, ge=1, description="batches whose gradients are summed into one optimizer step")
    balanced: bool = Field(False, description="equal shares of the classes in every batch, instead of natural ones")
    precision: Literal["auto", "float32", "bf16"] = Field("auto", description="auto: bf16 on GPUs, float32 on CPUs")
    clip_gradient: float | None = Field(None, gt=0, description="largest gradient norm per net; None: no clipping")
    average: float | None = Field(None, gt=0, lt=1, description="decay of the averaged weights, ramped up; None: none")
    average_from: int = Field(0, ge=0, description="step at which averaging begins; before it the average follows")
    checkpoint_every: int = Field(1000, ge=1, description="steps between checkpoints; the last step is always kept")
    keep: Annotated[int, Field(ge=1)] | Every | None = Field(
        None, description="newest checkpoints to keep, or a schedule with the last step beside it; None: all, for the search"
    )
    seed: int = 0

    @model_validator(mode="after")
    def _saves_what_is_kept(self) -> Self:
        if isinstance(self.keep, Every) and any(n % self.checkpoint_every for n in (self.keep.every, self.keep.begin)):
            raise ValueError(
                f"keep has every {self.keep.every} and begin {self.keep.begin}, but a checkpoint is saved every "
                f"{self.checkpoint_every} steps; make both multiples of checkpoint_every"
            )
        return self


@dataclass
class Step:
    """What a loss may know of the moment: the step, its own random numbers, and a memo that lives for one batch."""

    index: int
    total: int
    generator: torch.Generator
    memo: dict[str, Any] = field(default_factory=dict)


class Stage(Protocol):
    """The unit that is trained: nets, turns (one for plain stages, two for GANs), and a loss for each turn."""

    name: str
    reads: tuple[str, ...]
    """Columns that a batch holds: the corpus's own, or one that an earlier stage makes and nothing else but `label`."""
    needs: tuple[str, ...]
    """Stages whose trained nets `build` is handed."""
    turns: Mapping[str, tuple[str, ...]]
    """Turn -> the nets it updates, in the order in which the turns are taken."""
    repeats: Mapping[str, int]
    """Turn -> how often it is taken per batch, where that is not once."""
    averaged: tuple[str, ...]
    """Nets whose averaged weights are kept beside the raw ones."""

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        """Fresh nets by name; a net of an earlier stage may be held inside, frozen, but not listed in a turn."""
        ...

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> Optimizer: ...

    def learning_rate(self, turn: str, step: Step) -> float:
        """Factor on the optimizer's learning rate at this step; a schedule reads `step.total`, for a run's name follows it."""
        ...

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses: ...

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        """Losses on clips that are not trained on; called without gradients and in evaluation mode."""
        ...


@runtime_checkable
class Shared(Stage, Protocol):
    """A stage that several systems may use: its run is named by its identity alone, so it is trained once for all of them."""

    identity: Config
    """All that its nets follow from, apart from corpus and classes."""


@runtime_checkable
class MakesColumn(Stage, Protocol):
    """A stage whose trained nets turn clips into a column that later stages learn from."""

    makes: str
    """The column's name."""

    def encode(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """A batch of `reads` -> the column (B, ...), on the nets' device; called without gradients and in evaluation mode."""
        ...
