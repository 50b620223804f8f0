"""What is trained, and the name it has by that: one stage of one system on one corpus."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from foleyray import __version__
from foleyray.checkpoint import Card, Checkpoint, source_commit
from foleyray.config import UserError, fingerprint, nearest
from foleyray.corpus.store import Store
from foleyray.stage import Shared, Stage, Step, Training
from foleyray.system import System, SystemConfig

UNNAMED = ("checkpoint_every", "keep")
"""Settings of a training that change nothing about what is learned, only what is kept of it."""


@dataclass(frozen=True)
class Job:
    """One stage to be trained, and all that a worker in another process must know to do it."""

    system: System
    config: SystemConfig
    store: Store
    stage_name: str
    earlier: Mapping[str, Checkpoint]
    """The last checkpoints of the stages before this one."""
    out: Path

    @cached_property
    def stages(self) -> dict[str, Stage]:
        return {stage.name: stage for stage in self.system.stages(self.config, self.store.classes)}

    @property
    def stage(self) -> Stage:
        return self.stages[self.stage_name]

    @property
    def training(self) -> Training:
        return self.config.training[self.stage_name]

    @property
    def makes_the_sound(self) -> bool:
        return self.stage_name == list(self.stages)[-1]

    @cached_property
    def needs(self) -> dict[str, str]:
        """Needed stage -> id of the checkpoint it is taken from."""
        return {name: self.earlier[name].id for name in self.stage.needs}

    @cached_property
    def sounds_with(self) -> dict[str, str]:
        """Stage -> id of the checkpoint that the sound is made with, apart from this one."""
        others = self.system.samples_from(self.config)[:-1] if self.makes_the_sound else ()
        return {name: self.earlier[name].id for name in others}

    @cached_property
    def run(self) -> str:
        """8 hex digits of what is learned: config, needed checkpoints, corpus and classes.

        The config is the system's, or that of the stage itself where systems share it. Left out are the other stages'
        training, the number of workers, and what is kept (`UNNAMED`). The number of steps is left out too unless the
        stage's learning rate bends with it: a run that was asked for 1000 steps and then for 2000 goes on, while a cosine
        over 2000 steps is another run from its first step.
        """
        left_out = UNNAMED if _bends_with_length(self.stage) else (*UNNAMED, "steps")
        training = {key: value for key, value in self.training.model_dump(mode="json").items() if key not in left_out}
        config = {key: value for key, value in self.settings.items() if key != "training"}
        return fingerprint(config, self.stage_name, training, self.needs, self.store.fingerprint, self.store.classes)

    @property
    def settings(self) -> dict[str, Any]:
        """The stage's own settings and training where systems share it, else the config of its system."""
        if isinstance(self.stage, Shared):
            training = {self.stage_name: self.training.model_dump(mode="json")}
            return self.stage.identity.model_dump(mode="json") | {"training": training}
        return self.config.model_dump(mode="json")

    @property
    def folder(self) -> Path:
        return self.out / self.stage_name / self.run

    def card(self, step: int, scores: Mapping[str, float]) -> Card:
        return Card(
            system=None if isinstance(self.stage, Shared) else self.system.name,
            stage=self.stage_name,
            run=self.run,
            step=step,
            config=self.settings,
            classes=self.store.classes,
            mel_id=self.config.mel.id,
            needs=self.needs,
            sounds_with=self.sounds_with,
            corpus=self.store.fingerprint,
            scores=dict(scores),
            version=__version__,
            commit=source_commit(),
        )

    def build(self) -> nn.ModuleDict:
        """The stage's fresh nets: the same ones in every process, by the training's seed."""
        with torch.random.fork_rng([]):
            needed = {name: self.restored(name) for name in self.stage.needs}
            torch.manual_seed(self.training.seed)
            return self.stage.build(needed)

    def restored(self, name: str) -> nn.ModuleDict:
        """The trained nets of an earlier stage, on the CPU, frozen and in evaluation mode."""
        stage = self.stages[name]
        nets = stage.build({need: self.restored(need) for need in stage.needs})
        return self.earlier[name].restore(nets).eval().requires_grad_(False)


def checked_stages(system: System, config: SystemConfig, store: Store) -> Sequence[Stage]:
    """The stages in training order; raises UserError where config, corpus and stages do not fit together."""
    _check_same("clip", config.clip, store.clip)
    _check_same("mel", config.mel, store.mel)
    stages = system.stages(config, store.classes)
    names = [stage.name for stage in stages]
    for name in config.training:
        if name not in names:
            raise UserError(
                f"training.{name} is for no stage of {system.name}{nearest(name, names)}; stages: {', '.join(names)}"
            )
    for name in names:
        if name not in config.training:
            raise UserError(f"the config says nothing about training.{name}; add at least its steps and batch_size")
    return stages


def _check_same(what: str, ours: Any, corpus: Any) -> None:
    """Config and corpus must agree on the sound itself; names the first field in which they do not."""
    theirs = corpus.model_dump()
    for field, value in ours.model_dump().items():
        if value != theirs[field]:
            raise UserError(
                f"the config's {what}.{field} is {value} but the corpus was made with {theirs[field]}; "
                f"set {what}.{field}={theirs[field]} or make the corpus again"
            )


def _bends_with_length(stage: Stage) -> bool:
    """Whether the learning rate at some step differs between a training that ends there and one that hardly begins."""
    generator = torch.Generator()
    return any(
        stage.learning_rate(turn, Step(index, index + 1, generator))
        != stage.learning_rate(turn, Step(index, (index + 1) * 1_000_000, generator))
        for turn in stage.turns
        for index in (0, 1, 10, 100, 1_000, 10_000, 100_000)
    )
