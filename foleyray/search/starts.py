"""Points that a search is told to try: those it begins with, such as a paper's, or all points of a grid."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from foleyray.clips import ClassList
from foleyray.config import UserError, nearest
from foleyray.sampling import SamplingParams
from foleyray.search.config import SearchConfig, Value
from foleyray.search.trial import age_of
from foleyray.system import System

EVERY_CLASS = "all"


def starts_of(settings: SearchConfig, name: str) -> tuple[Mapping[str, Any], ...]:
    """The points for a class, those for all classes first, each with the parameters it sets."""
    return (*settings.starts.get(EVERY_CLASS, ()), *settings.starts.get(name, ()))


def crossed(
    grids: Sequence[Mapping[str, Sequence[Value]]], start: Mapping[str, Value], num_ages: Mapping[str, int]
) -> list[dict[str, Value]]:
    """All points of the grids, without repeats, each at every checkpoint of the last stage, the newest first.

    What a grid does not name stays at `start`; so the one grid `{}` is the start at every checkpoint.
    """
    *_, last = num_ages
    ages = {age_of(last): range(num_ages[last])} if num_ages[last] > 1 else {}
    found: dict[tuple[Any, ...], None] = {}
    for grid in grids:
        axes = {**grid, **ages}
        for values in product(*axes.values()):
            found[tuple({**start, **dict(zip(axes, values, strict=True))}.items())] = None
    return [dict(point) for point in found]


def check_starts(system: System, settings: SearchConfig, classes: ClassList) -> None:
    """Raises UserError where a point is for no class, or sets what the search of this system does not try."""
    for grid in settings.grid:
        for parameter, values in grid.items():
            for value in values:
                _check(system.params, {parameter: value}, f"search.grid of {system.name}")
    known = (EVERY_CLASS, *classes.names)
    for name, points in settings.starts.items():
        if name not in known:
            raise UserError(f"search.starts has points for '{name}'{nearest(name, known)}; expected {', '.join(known)}")
        for point in points:
            _check(system.params, point, f"search.starts.{name} of {system.name}")


def _check(params: type[SamplingParams], point: Mapping[str, Any], origin: str) -> None:
    params.parse(point, origin)
    searched = [name for name, bounds in params.space().items() if bounds.searched]
    for name in point:
        if name not in searched:
            raise UserError(f"{origin} sets {name}, which the search leaves alone; it tries {', '.join(searched)}")
