"""What one trial chooses, in Optuna's words: the bounds of the sampling parameters and the age of the checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from foleyray.sampling import Bounds, SamplingParams

AGE = "checkpoint_age"
"""0 is the newest checkpoint. An ordered number, because neighbours in training sound alike."""


@dataclass(frozen=True)
class Point:
    """One choice: which candidate, counted from the newest, and how to sample from it."""

    candidate: int
    params: dict[str, float | int | str]


def space(params: type[SamplingParams], num_checkpoints: int) -> dict[str, BaseDistribution]:
    """Every sampling parameter within its bounds, and the checkpoint's age where there is more than one."""
    assert AGE not in params.model_fields
    ages: dict[str, BaseDistribution] = {AGE: IntDistribution(0, num_checkpoints - 1)} if num_checkpoints > 1 else {}
    return ages | {name: _distribution(bounds) for name, bounds in params.space().items()}


def _distribution(bounds: Bounds) -> BaseDistribution:
    if bounds.kind == "choice":
        return CategoricalDistribution(bounds.options)
    assert bounds.low is not None and bounds.high is not None
    if bounds.kind == "int":
        return IntDistribution(int(bounds.low), int(bounds.high))
    return FloatDistribution(bounds.low, bounds.high)


def start(params: type[SamplingParams], num_checkpoints: int) -> dict[str, Any]:
    """The point every study begins with: the newest checkpoint with the values its system declares as a start."""
    ages = {AGE: 0} if num_checkpoints > 1 else {}
    return ages | {name: bounds.start for name, bounds in params.space().items()}


def point(chosen: Mapping[str, Any]) -> Point:
    """Optuna's choice, split into checkpoint and sampling parameters."""
    return Point(chosen.get(AGE, 0), {name: value for name, value in chosen.items() if name != AGE})
