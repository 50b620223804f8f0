"""How generated clips lie among real ones by nearest neighbours: precision, recall, density and coverage.

A clip's ball reaches to its k-th nearest neighbour within its own set, itself not counted, its edge included. All
functions take the distances of `pairs.py` and weights (R, N) of the generated clips, and give a number for each row (R,).
"""

import numpy as np

from foleyray.config import UserError
from foleyray.metrics.pairs import Pairs
from foleyray.metrics.stats import Floats

MANIFOLD_K, COVERAGE_K = 3, 5
"""Neighbours of precision and recall (Kynkäänniemi et al., 2019), and of density and coverage (Naeem et al., 2020)."""


def precision(pairs: Pairs, weights: Floats, k: int = MANIFOLD_K) -> Floats:
    """Share of the generated clips inside some real clip's ball (Kynkäänniemi et al., 2019, eq. 2)."""
    inside = pairs.across <= radii(pairs.reference, k)[:, None]
    return np.asarray(weights @ inside.any(axis=0) / weights.sum(axis=1))


def density(pairs: Pairs, weights: Floats, k: int = COVERAGE_K) -> Floats:
    """Real balls around a generated clip over k; 1 on average for one law, more where clips crowd (Naeem et al., eq. 4)."""
    inside = pairs.across <= radii(pairs.reference, k)[:, None]
    return np.asarray(weights @ inside.sum(axis=0) / weights.sum(axis=1) / k)


def coverage(pairs: Pairs, weights: Floats, k: int = COVERAGE_K) -> Floats:
    """Share of the real clips whose ball holds a generated clip (Naeem et al., eq. 5); see `expected_coverage`."""
    inside = pairs.across <= radii(pairs.reference, k)[:, None]
    return np.asarray(((weights > 0) @ inside.T.astype(np.float64) > 0).mean(axis=1))


def expected_coverage(num_reference: int, num_generated: int, k: int = COVERAGE_K) -> float:
    """Of clips of one law, in any space: 1 - 2^-k for many and equally many, 0.97 at k = 5 (Naeem et al., section 3.3)."""
    ranks = np.arange(k)
    missed = (num_reference - 1 - ranks) / (num_reference + num_generated - 1 - ranks)
    return float(1 - missed.clip(min=0).prod())


def recall(pairs: Pairs, weights: Floats, k: int = MANIFOLD_K) -> Floats:
    """Share of the real clips inside some generated clip's ball (Kynkäänniemi et al., 2019, eq. 2).

    A clip that is drawn twice is its own neighbour at no distance, as in any sample with replacement.
    """
    _needs_more_than(k, pairs.generated)
    order = np.argsort(_without_self(pairs.generated), axis=1)
    ordered = np.take_along_axis(pairs.generated, order, axis=1)
    held = np.empty(len(weights))
    for index, row in enumerate(weights):
        kth = (np.cumsum(row[order], axis=1) >= k + 1 - row[:, None]).argmax(axis=1)
        reach = np.take_along_axis(ordered, kth[:, None], axis=1)[:, 0]
        reach = np.where(row > 0, np.where(row > k, 0, reach), -1)
        held[index] = (pairs.across <= reach).any(axis=1).mean()
    return held


def radii(within: Floats, k: int) -> Floats:
    """Distance (N,) of each clip to its k-th nearest other one; raises UserError where there are k clips or fewer."""
    _needs_more_than(k, within)
    return np.asarray(np.partition(_without_self(within), k - 1, axis=1)[:, k - 1])


def _without_self(within: Floats) -> Floats:
    """Distances (N, N) with infinity from each clip to itself."""
    return np.where(np.eye(len(within), dtype=bool), np.inf, within)


def _needs_more_than(k: int, within: Floats) -> None:
    if len(within) <= k:
        raise UserError(f"neighbour {k} of a clip needs {k + 1} clips a side, found {len(within)}; give more")
