"""Choosing: which selection serves a class best, found on a pool of sounds that are made already.

Every option gives one sound for each request, so all of them are compared at equal counts and seeds, and the sounds without
selection among them. What it finds is as optimistic as any best of many: promotion measures it again on fresh seeds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foleyray.config import Config
from foleyray.metrics.diversity import diversity
from foleyray.metrics.reference import ReferenceClass
from foleyray.metrics.subsets import Subsets
from foleyray.search.comparing import distances
from foleyray.search.config import ChoosingConfig, Target
from foleyray.search.pools import Pool
from foleyray.search.replaying import Floats, replay, seen
from foleyray.search.scoring import cosines
from foleyray.selection import CEILING, Bank, Selection

DECIMALS = 6
"""Of a threshold, rounded down: it can be read, and no candidate of the pool lies exactly on it."""


class Picked(Config):
    """What the sounds measured that one option picks from a pool."""

    target: Target | None = None
    """None: without selection."""
    selection: Selection | None = None
    fad: float
    kad: float | None
    diversity: float
    diversity_ratio: float | None
    """Diversity over that of the reference clips."""
    acceptance_rate: float
    made_per_sound: float


@dataclass(frozen=True, kw_only=True)
class Try:
    """One selection, and what it picks (R,)."""

    target: Target | None = None
    selection: Selection | None = None
    places: NDArray[np.int64]
    acceptance_rate: float = 1.0
    made_per_sound: float = 1.0

    def measured(self, fad: float, diversity: float) -> "Option":
        return Option(**vars(self), fad=fad, diversity=diversity)


@dataclass(frozen=True, kw_only=True)
class Option(Try):
    """The same, and what the picked sounds measured."""

    fad: float
    diversity: float


@dataclass(frozen=True)
class Choice:
    """The best option of a pool that is various enough, beside the sounds without selection."""

    chosen: Picked
    unselected: Picked
    places: NDArray[np.int64]
    """Of the chosen clips in the pool, a request after the other (R,)."""
    options: tuple[Option, ...]
    """All that were tried, the sounds without selection first."""
    least_diversity: float


@dataclass(frozen=True)
class Goal:
    """What candidates are scored against: their likeness (R, C, N) to a text (N = 1) or to the vectors of a bank."""

    likeness: Floats
    bank: Bank | None = None


def goals(pool: Pool, banks: Mapping[Target, tuple[Bank, NDArray[np.float32]]], settings: ChoosingConfig) -> dict[Target, Goal]:
    """The targets that are tried, in their order; `banks` holds one where "bank" is among them, with its vectors (N, D)."""
    assert pool.likeness is not None and pool.vectors is not None
    shape = len(pool.seeds), pool.num_candidates, -1
    found: dict[Target, Goal] = {}
    for target in settings.targets:
        if target == "text":
            found[target] = Goal(pool.likeness.reshape(shape))
        else:
            bank, vectors = banks[target]
            found[target] = Goal(cosines(pool.vectors, vectors).reshape(shape), bank)
    return found


def choose(
    pool: Pool, against: Mapping[Target, Goal], reference: ReferenceClass, scorer: str, settings: ChoosingConfig
) -> Choice:
    """The smallest distance among the options whose diversity is large enough; of equal ones that which makes least."""
    tries = [each for target, goal in against.items() for each in _tries(pool, target, goal, scorer, settings)]
    return _best([Try(places=pool.unselected), *tries], Subsets(pool.clips, reference), settings.least_diversity)


def no_choice(pool: Pool, reference: ReferenceClass) -> Choice:
    """The sounds without selection, where none is tried."""
    return _best([Try(places=pool.unselected)], Subsets(pool.clips, reference), 0.0)


def _best(tries: Sequence[Try], subsets: Subsets, share: float) -> Choice:
    """The first one is that without selection."""
    fads = distances(subsets, [each.places for each in tries])
    options = [each.measured(fad, subsets.diversity(each.places)) for each, fad in zip(tries, fads, strict=True)]
    least = share * options[0].diversity
    allowed = [option for option in options if option.selection is None or option.diversity >= least]
    best = min(allowed, key=lambda option: (option.fad, option.made_per_sound))
    means = subsets.reference.means
    real = None if means is None else diversity(means)
    chosen, unselected = (_picked(option, subsets, real) for option in (best, options[0]))
    return Choice(chosen, unselected, best.places, tuple(options), least)


def _tries(pool: Pool, target: Target, goal: Goal, scorer: str, settings: ChoosingConfig) -> Iterator[Try]:
    first = pool.unselected
    for count in settings.counts:
        rounds = pool.num_candidates // count
        selection = Selection(scorer=scorer, candidates=count, max_rounds=rounds, bank=goal.bank)
        scores = seen(goal.likeness, selection, pool.seeds)
        bars = thresholds(scores, settings.thresholds)
        found = replay(scores, selection, bars)
        for number, bar in enumerate(bars):
            yield Try(
                target=target,
                selection=selection.model_copy(update={"threshold": bar}),
                places=first + found.candidate[number],
                acceptance_rate=float(found.accepted[number].mean()),
                made_per_sound=float(found.made[number].mean()),
            )


def thresholds(scores: Floats, count: int) -> list[float]:
    """Up to `count` different quantiles of the scores, from the lowest, which accepts every round, to the highest."""
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return [-1.0]
    quantiles = np.quantile(np.minimum(finite, CEILING), np.linspace(0, 1, count))
    return sorted(set((np.floor(quantiles * 10**DECIMALS) / 10**DECIMALS).clip(-1, CEILING).tolist()))


def _picked(option: Option, subsets: Subsets, real: float | None) -> Picked:
    return Picked(
        target=option.target,
        selection=option.selection,
        fad=option.fad,
        kad=subsets.kad(option.places),
        diversity=option.diversity,
        diversity_ratio=option.diversity / real if real else None,
        acceptance_rate=option.acceptance_rate,
        made_per_sound=option.made_per_sound,
    )
