"""Distances of many choices among the same clips, on all cores."""

from collections.abc import Sequence

from foleyray.metrics.subsets import Places, Subsets
from foleyray.modules.threads import single_threads


def distances(subsets: Subsets, choices: Sequence[Places]) -> list[float]:
    """The Fréchet distance of each choice; equal ones are computed once."""
    unlike = {tuple(sorted(int(place) for place in choice)): choice for choice in choices}
    subsets.prepare()
    with single_threads() as threads:
        list(threads.map(subsets.frechet, unlike.values()))
    return [subsets.frechet(choice) for choice in choices]
