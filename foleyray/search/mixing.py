"""Mixing: which shares of several systems serve a class best, from the embeddings of sounds that are made already.

A mixture is judged on as many sounds as a system alone, of the same requests: the first system answers the first of them, as
many as its share says, the next one those after. As with choosing, promotion measures the winner again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foleyray.metrics.distances import frechet_interval
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.reference import ReferenceClass
from foleyray.metrics.subsets import Subsets
from foleyray.search.comparing import distances
from foleyray.search.config import MixingConfig


@dataclass(frozen=True)
class Mixture:
    """Shares by system, of those that have one, and the distance of the sounds; `options` is how many mixtures were tried."""

    shares: dict[str, float]
    fad: float
    options: int


def mix(sounds: Mapping[str, ClipEmbeddings], reference: ReferenceClass, settings: MixingConfig) -> Mixture:
    """The nearest mixture where it lies below the interval of the nearest system alone, else that system: the best of many
    mixtures is nearer by chance. `sounds`: as many of each system."""
    names = list(sounds)
    num_clips = {clips.num_clips for clips in sounds.values()}
    assert len(num_clips) == 1, "mixtures are compared at equal counts"
    count = num_clips.pop()
    subsets = Subsets(ClipEmbeddings.join(list(sounds.values())), reference)
    tried = list(shares(len(names), settings.steps))
    fads = distances(subsets, [_places(blocks(parts, count), count) for parts in tried])
    best = min(range(len(tried)), key=lambda number: (fads[number], _num_members(tried[number])))
    alone = min((number for number in range(len(tried)) if _num_members(tried[number]) == 1), key=fads.__getitem__)
    single = sounds[names[tried[alone].index(settings.steps)]]
    if fads[best] >= frechet_interval(single, reference.moments)[0]:
        best = alone
    chosen = {name: part / settings.steps for name, part in zip(names, tried[best], strict=True) if part}
    return Mixture(chosen, fads[best], len(tried))


def shares(num_systems: int, steps: int) -> Iterator[tuple[int, ...]]:
    """Every way of giving out `steps` equal parts."""
    if num_systems == 1:
        yield (steps,)
        return
    for first in range(steps, -1, -1):
        for rest in shares(num_systems - 1, steps - first):
            yield (first, *rest)


def blocks(parts: Sequence[float], count: int) -> list[range]:
    """Which of `count` requests each system answers, one system after another; what does not come out even goes to the largest
    remainders."""
    exact = np.asarray(parts, dtype=np.float64) * (count / sum(parts))
    whole = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: count - whole.sum()]] += 1
    ends = np.cumsum(whole).tolist()
    return [range(begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def _places(answered: Sequence[range], count: int) -> list[int]:
    """Of the sounds of all systems, one system after the other."""
    return [number * count + place for number, block in enumerate(answered) for place in block]


def _num_members(parts: Sequence[int]) -> int:
    return sum(part > 0 for part in parts)
