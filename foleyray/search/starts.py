"""Points that a search is told to begin with, such as those that a paper reports."""

from collections.abc import Mapping
from typing import Any

from foleyray.clips import ClassList
from foleyray.config import UserError, nearest
from foleyray.sampling import SamplingParams
from foleyray.search.config import SearchConfig
from foleyray.system import System

EVERY_CLASS = "all"


def starts_of(settings: SearchConfig, name: str) -> tuple[Mapping[str, Any], ...]:
    """The points for a class, those for all classes first, each with the parameters it sets."""
    return (*settings.starts.get(EVERY_CLASS, ()), *settings.starts.get(name, ()))


def check_starts(system: System, settings: SearchConfig, classes: ClassList) -> None:
    """Raises UserError where a point is for no class, or sets what the search of this system does not try."""
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
