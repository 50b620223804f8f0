"""The rule of selection on scores that are known already: what `Picking` would pick, for many thresholds at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foleyray.selection import CEILING, WORST, Picking, Selection

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Replay:
    """Of each threshold and request (T, R): the candidate that is given, how many were made, and whether it was good enough."""

    candidate: NDArray[np.int64]
    made: NDArray[np.int64]
    accepted: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Course:
    """What the rounds of one request are scored against (rounds,): the row of the bank, and what is added to the threshold."""

    targets: NDArray[np.int64]
    steps: Floats


def course(selection: Selection, seed: int) -> Course:
    """The rounds of a request, were every one of them in vain."""
    picking = Picking(selection, seed)
    targets, steps = [], []
    while wanted := picking.wanted:
        targets.append(picking.target)
        steps.append(picking.threshold - selection.threshold)
        picking.hear([2.0] * len(wanted))  # above any ceiling
    return Course(np.array(targets), np.array(steps))


def seen(likeness: Floats, selection: Selection, seeds: Sequence[int]) -> Floats:
    """The scores that the rule would meet (R, rounds * count), of the candidates' likeness to every target (R, C, targets)."""
    rounds = np.stack([course(selection, seed).targets for seed in seeds])
    targets = np.repeat(rounds, selection.candidates, axis=1)
    return np.asarray(np.take_along_axis(likeness[:, : targets.shape[1]], targets[:, :, None], axis=2)[:, :, 0])


def replay(scores: Floats, selection: Selection, thresholds: Sequence[float]) -> Replay:
    """What the rule picks from scores (R, rounds * count) with each threshold in the place of the selection's own."""
    count, rounds = selection.candidates, selection.max_rounds
    blocks = scores.reshape(len(scores), rounds, count)
    usable = np.isfinite(blocks) & (blocks <= CEILING)
    allowed = np.where(usable, np.maximum(blocks, WORST), WORST - 1)
    best = allowed.argmax(axis=2)
    highest = np.take_along_axis(allowed, best[:, :, None], axis=2)[:, :, 0]
    value = np.maximum(highest, WORST)
    steps = course(selection.model_copy(update={"threshold": 0.0}), 0).steps
    bars = np.asarray(thresholds, dtype=np.float64)[:, None, None] + steps
    enough = (highest >= WORST) & (value >= bars)
    accepted = np.asarray(enough.any(axis=2))
    place = np.where(accepted, enough.argmax(axis=2), value.argmax(axis=1))
    heard = np.where(accepted, place + 1, rounds)
    requests = np.arange(len(scores))
    return Replay(place * count + best[requests, place], heard * count, accepted)
