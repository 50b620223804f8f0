"""Which checkpoints a search may choose from: the newest of every stage that makes the sound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import overload

from foleyray.checkpoint import Checkpoint
from foleyray.clips import ClassList
from foleyray.config import UserError
from foleyray.system import System, SystemConfig

Candidate = dict[str, Checkpoint]
"""One checkpoint for each stage that sampling needs."""
Trained = Mapping[str, Sequence[Checkpoint]]
"""Stage -> its checkpoints, oldest first."""


@dataclass(frozen=True)
class Candidates(Sequence[Candidate]):
    """Every choice of one checkpoint per stage, made when it is asked for. Number 0 has the newest of all stages.

    The number counts the ages of the stages as digits, the last stage's fastest.
    """

    stages: Mapping[str, tuple[Checkpoint, ...]]
    """Stage -> its checkpoints, newest first."""

    @property
    def num_ages(self) -> dict[str, int]:
        """Stage -> how many checkpoints it has to choose from."""
        return {stage: len(steps) for stage, steps in self.stages.items()}

    def __len__(self) -> int:
        return prod(self.num_ages.values())

    @overload
    def __getitem__(self, number: int) -> Candidate: ...
    @overload
    def __getitem__(self, number: slice) -> list[Candidate]: ...
    def __getitem__(self, number: int | slice) -> Candidate | list[Candidate]:
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        left, chosen = range(len(self))[number], {}
        for stage in reversed(list(self.stages)):
            left, age = divmod(left, len(self.stages[stage]))
            chosen[stage] = self.stages[stage][age]
        return {stage: chosen[stage] for stage in self.stages}


def newest(system: System, config: SystemConfig, trained: Trained, classes: ClassList, count: int | None) -> Candidates:
    """Up to `count` checkpoints of every stage in `samples_from`, newest first; the untrained step 0 is never one.

    A stage may meet another step of an earlier stage than the one it was trained on, which is the newest.
    Raises UserError where a stage has no trained checkpoint or was trained on other classes.
    """
    usable = {stage: [absolute(c) for c in trained.get(stage, ()) if c.card.step > 0] for stage in system.samples_from(config)}
    for stage, checkpoints in usable.items():
        if not checkpoints:
            raise UserError(f"stage {stage} of {system.name} has no checkpoint beyond step 0; train it before the search")
        found = checkpoints[-1].card.classes
        if found.names != classes.names:
            raise UserError(
                f"{checkpoints[-1].path} was trained on the classes {', '.join(found.names)}, but the store has "
                f"{', '.join(classes.names)}; search on the corpus it was trained on"
            )
    return Candidates({stage: tuple(checkpoints[::-1][:count]) for stage, checkpoints in usable.items()})


def ids(candidate: Candidate) -> dict[str, str]:
    """Stage -> checkpoint id."""
    return {stage: checkpoint.id for stage, checkpoint in candidate.items()}


def by_ids(wanted: Mapping[str, str], trained: Trained) -> Candidate:
    """The candidate with these ids; raises UserError where one of its checkpoints is gone."""
    known = {checkpoint.id: checkpoint for checkpoints in trained.values() for checkpoint in checkpoints}
    for id in wanted.values():
        if id not in known:
            raise UserError(f"the search chose the checkpoint {id}, which is no longer there; search again")
    return {stage: absolute(known[id]) for stage, id in wanted.items()}


def absolute(checkpoint: Checkpoint) -> Checkpoint:
    """With its whole path: other processes may stand elsewhere."""
    return replace(checkpoint, path=checkpoint.path.resolve())
