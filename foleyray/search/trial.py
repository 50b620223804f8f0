"""What one trial chooses, in Optuna's words: the bounds of the sampling parameters and the ages of the checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from foleyray.sampling import Bounds, SamplingParams


@dataclass(frozen=True)
class Point:
    """One choice: which candidate, by the number it has among `Candidates`, and how to sample from it."""

    candidate: int
    params: dict[str, float | int | str]


def age_of(stage: str) -> str:
    """The parameter that chooses a stage's checkpoint. 0 is the newest; in no order, for which is best differs by class."""
    return f"{stage}_age"


def space(params: type[SamplingParams], num_ages: Mapping[str, int]) -> dict[str, BaseDistribution]:
    """Every parameter that is searched, within its bounds, and the age of the checkpoint of each stage that has a choice."""
    assert not {age_of(stage) for stage in num_ages} & params.model_fields.keys()
    ages: dict[str, BaseDistribution] = {
        age_of(stage): CategoricalDistribution(range(num_ages[stage])) for stage in _varying(num_ages)
    }
    return ages | {name: _distribution(bounds) for name, bounds in _searched(params).items()}


def _searched(params: type[SamplingParams]) -> dict[str, Bounds]:
    return {name: bounds for name, bounds in params.space().items() if bounds.searched}


def _varying(num_ages: Mapping[str, int]) -> list[str]:
    return [stage for stage, count in num_ages.items() if count > 1]


def _distribution(bounds: Bounds) -> BaseDistribution:
    if bounds.kind == "choice":
        return CategoricalDistribution(bounds.options)
    assert bounds.low is not None and bounds.high is not None
    if bounds.kind == "int":
        return IntDistribution(int(bounds.low), int(bounds.high))
    return FloatDistribution(bounds.low, bounds.high)


def start(params: type[SamplingParams], num_ages: Mapping[str, int]) -> dict[str, Any]:
    """The point every study begins with: the newest checkpoints with the values their system declares as a start."""
    ages: dict[str, Any] = {age_of(stage): 0 for stage in _varying(num_ages)}
    return ages | {name: bounds.start for name, bounds in _searched(params).items()}


def point(chosen: Mapping[str, Any], num_ages: Mapping[str, int]) -> Point:
    """Optuna's choice, split into the candidate and the sampling parameters."""
    candidate = 0
    for stage, count in num_ages.items():
        candidate = candidate * count + chosen.get(age_of(stage), 0)
    ages = {age_of(stage) for stage in num_ages}
    return Point(candidate, {name: value for name, value in chosen.items() if name not in ages})
