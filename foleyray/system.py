"""The contract of a generator: its config, its stages, and the sampler that turns trained stages into sound.

A system is a folder in `systems/` that exports `SYSTEM`; `find` imports it by name, the one place where a lower floor
reaches up, at run time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from foleyray.checkpoint import Card, Checkpoint
from foleyray.clips import ClassList, ClipSpec, MelSpec
from foleyray.config import Config, UserError, fingerprint, nearest, read_yaml
from foleyray.sampling import SamplingParams
from foleyray.stage import Stage, Training


class SystemConfig(Config):
    """Base of every system's config. `training` holds one entry per stage."""

    system: str
    clip: ClipSpec = ClipSpec()
    mel: MelSpec = MelSpec()
    training: dict[str, Training]


class Sampler(Protocol):
    """Makes sound. One seed per clip: a sound never depends on its neighbours in the batch or on its place in it."""

    clip: ClipSpec
    classes: ClassList
    params: type[SamplingParams]

    def sample(self, labels: Tensor, params: Sequence[SamplingParams], seeds: Sequence[int]) -> Tensor:
        """labels int64 (B,), one params and one seed (0 <= seed < 2**63) a clip -> wave float32 (B, T) in [-1, 1] on the CPU.

        The params must agree on their batch-wide values; raises ValueError where they do not.
        """
        ...


@runtime_checkable
class Prompted(Sampler, Protocol):
    """A sampler that is told in words what to make."""

    def sample(
        self,
        labels: Tensor,
        params: Sequence[SamplingParams],
        seeds: Sequence[int],
        prompts: Sequence[str | None] | None = None,
    ) -> Tensor:
        """As `Sampler.sample`; a clip with a prompt is made after it, the others (None) after their class."""
        ...

    def targets(self, labels: Tensor, prompts: Sequence[str | None]) -> Tensor:
        """What the sounds are made after: vectors float32 (B, D) of unit length on the CPU, in the space of stage `clap`."""
        ...


@runtime_checkable
class HasClassVectors(Sampler, Protocol):
    """A sampler whose net learns a vector for each class."""

    def class_vectors(self) -> Tensor:
        """float32 (classes, D) on the CPU, in the order of the classes."""
        ...


@dataclass(frozen=True)
class System:
    """What a folder in `systems/` exports as `SYSTEM`.

    `stages(config, classes)` are in training order, the last one makes the sound that is previewed;
    `samples_from(config)` names the stages that sampling needs, that last one at the end, and
    `sampler(config, checkpoints, device)` takes one checkpoint for each of them.
    """

    name: str
    config: type[SystemConfig]
    params: type[SamplingParams]
    stages: Callable[[Any, ClassList], tuple[Stage, ...]]
    sampler: Callable[[Any, Mapping[str, Checkpoint], torch.device], Sampler]
    samples_from: Callable[[Any], tuple[str, ...]]
    takes_prompts: Callable[[Any], bool] = lambda config: False
    """Whether the samplers of a config are `Prompted`."""


def names() -> list[str]:
    """The systems that exist: the folders of `systems/`."""
    return sorted(path.parent.name for path in (Path(__file__).parent / "systems").glob("*/__init__.py"))


def find(name: str) -> System:
    """Imports the system of that name; raises UserError naming those that exist."""
    if name not in names():
        raise UserError(f"unknown system '{name}'{nearest(name, names())}; systems: {', '.join(names())}")
    system: System = import_module(f"foleyray.systems.{name}").SYSTEM
    return system


def read_config(path: Path | str, overrides: Iterable[str] = ()) -> tuple[System, SystemConfig]:
    """A system and its validated config from YAML; the key `search` belongs to the search and is left to it."""
    document = read_yaml(path, overrides)
    document.pop("search", None)
    if not isinstance(document.get("system"), str):
        raise UserError(f"{path} names no system; add a line such as 'system: {names()[0]}'")
    system = find(document["system"])
    return system, system.config.parse(document, str(path))


def load_sampler(checkpoints: Mapping[str, Checkpoint], device: torch.device) -> Sampler:
    """A sampler from trained checkpoints alone, of which the last stage's card brings system and config."""
    cards = [checkpoint.card for checkpoint in checkpoints.values()]
    owners = {card.system for card in cards if card.system}
    if len(owners) != 1 or len({(fingerprint(card.classes), card.mel_id) for card in cards}) != 1:
        found = "; ".join(
            f"{card.stage}: {card.system or 'any system'}, classes {list(card.classes.names)}, mel {card.mel_id}"
            for card in cards
        )
        raise UserError(f"checkpoints of one sampler must share system, classes and mel, found {found}")
    system = find(*owners)
    wanted = system.samples_from(_config_of(system, next(card for card in cards if card.system)))
    if missing := [stage for stage in wanted if stage not in checkpoints]:
        raise UserError(f"{system.name} samples from the stages {', '.join(wanted)}; no checkpoint for {', '.join(missing)}")
    return system.sampler(_config_of(system, checkpoints[wanted[-1]].card), checkpoints, device)


def _config_of(system: System, card: Card) -> SystemConfig:
    return system.config.parse(card.config, f"card of {card.stage}")
