"""Which checkpoints a search may choose from: the newest of the stage that makes the sound, beside those it stands on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from foleyray.checkpoint import Checkpoint
from foleyray.clips import ClassList
from foleyray.config import UserError
from foleyray.system import System, SystemConfig

Candidate = dict[str, Checkpoint]
"""One checkpoint for each stage that sampling needs."""
Trained = Mapping[str, Sequence[Checkpoint]]
"""Stage -> its checkpoints, oldest first."""


def newest(system: System, config: SystemConfig, trained: Trained, classes: ClassList, count: int) -> tuple[Candidate, ...]:
    """Up to `count` candidates, newest first; the untrained step 0 is never one.

    The last stage named in `samples_from` varies; of the others it is the newest checkpoint, on which the last was trained.
    Raises UserError where a stage has no trained checkpoint or was trained on other classes.
    """
    usable = {stage: [_absolute(c) for c in trained.get(stage, ()) if c.card.step > 0] for stage in system.samples_from(config)}
    for stage, checkpoints in usable.items():
        if not checkpoints:
            raise UserError(f"stage {stage} of {system.name} has no checkpoint beyond step 0; train it before the search")
        found = checkpoints[-1].card.classes
        if found.names != classes.names:
            raise UserError(
                f"{checkpoints[-1].path} was trained on the classes {', '.join(found.names)}, but the store has "
                f"{', '.join(classes.names)}; search on the corpus it was trained on"
            )
    *others, varied = system.samples_from(config)
    fixed = {stage: usable[stage][-1] for stage in others}
    return tuple({**fixed, varied: checkpoint} for checkpoint in reversed(usable[varied][-count:]))


def ids(candidate: Candidate) -> dict[str, str]:
    """Stage -> checkpoint id."""
    return {stage: checkpoint.id for stage, checkpoint in candidate.items()}


def by_ids(wanted: Mapping[str, str], trained: Trained) -> Candidate:
    """The candidate with these ids; raises UserError where one of its checkpoints is gone."""
    known = {checkpoint.id: checkpoint for checkpoints in trained.values() for checkpoint in checkpoints}
    for id in wanted.values():
        if id not in known:
            raise UserError(f"the search chose the checkpoint {id}, which is no longer there; search again")
    return {stage: _absolute(known[id]) for stage, id in wanted.items()}


def _absolute(checkpoint: Checkpoint) -> Checkpoint:
    """Other processes may stand elsewhere."""
    return replace(checkpoint, path=checkpoint.path.resolve())
