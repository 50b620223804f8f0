"""How far two sets of embeddings lie apart, how sure that is, and how various one set is. Tables live in `scores.py`.

The Fréchet distance of Gaussians is |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Dowson and Landau, 1982; Kilgour et
al., "Fréchet Audio Distance", 2019). With roots A A' = S_a and B B' = S_b, the trace of the matrix root is the sum of the
singular values of A' B: always real, never negative, and exact where covariances are singular. Of few rows the centred
rows are such a root themselves, so no matrix of D x D is ever made.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from foleyray.config import UserError
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.stats import EmbeddingStats, Floats

CONFIDENCE = 0.95


class Moments(Protocol):
    """A Gaussian: `mean` (D,), and `root` (D, rank) with root @ root.T its covariance, of `count` rows."""

    @property
    def count(self) -> int: ...
    @property
    def mean(self) -> Floats: ...
    @property
    def root(self) -> Floats: ...


@dataclass(frozen=True, eq=False)
class FewRows:
    """The moments of fewer rows than dimensions."""

    count: int
    mean: Floats
    root: Floats


def moments(rows: NDArray[Any]) -> Moments:
    """Of rows (N, D), in the form that is cheaper; raises UserError where one is not finite or there are fewer than two."""
    count, dim = rows.shape
    _needs_two(count)
    if not np.isfinite(rows).all():
        raise UserError("embeddings hold numbers that are not finite; look for broken clips, there is no distance to them")
    if count > dim:
        return EmbeddingStats.from_rows(rows)
    exact = np.asarray(rows, dtype=np.float64)
    mean = exact.mean(axis=0)
    return FewRows(count, mean, (exact - mean).T / np.sqrt(count - 1))


def frechet(a: Moments, b: Moments) -> float:
    """The distance of two Gaussians, at least 0; raises UserError where a side has fewer than two rows or the dims differ."""
    _needs_two(min(a.count, b.count))
    if a.mean.size != b.mean.size:
        raise UserError(f"embeddings of {a.mean.size} and {b.mean.size} dimensions do not compare; use one embedder for both")
    step = a.mean - b.mean
    overlap = np.linalg.svd(a.root.T @ b.root, compute_uv=False).sum()
    return max(0.0, float(step @ step + np.square(a.root).sum() + np.square(b.root).sum() - 2 * overlap))


def frechet_rows(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The same distance from rows (N, D) and (M, D)."""
    return frechet(moments(a), moments(b))


def _needs_two(count: int) -> None:
    if count < 2:
        raise UserError(f"a Fréchet distance needs two frames a side, found {count}; give more clips")


def frechet_interval(
    a: ClipEmbeddings, b: ClipEmbeddings | Moments, *, resamples: int = 100, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the distance of clips `a` to `b`, were other clips drawn as `a` was; `b` is taken as it is.

    A jackknife by clip (Efron and Stein, 1981), since the frames of a clip are alike; with more clips than `resamples`,
    `seed` shuffles them into so many groups that are left out in turn (Kott, 2001). It is the interval of the distance *at
    this number of clips*, bias included: compare it at equal counts. On simulated clips of 16 to 200 dimensions it holds the
    truth in 93 to 99 % of draws and is 1.0 to 1.4 times as wide as need be. A bootstrap does not serve here: clips drawn twice
    bias every resample further upwards, so that its percentiles hold the truth in 0 to 91 %, and centred anew they are up to
    three times (scaled) or five times (shifted) as wide as need be where rows are fewer than dimensions.

    Raises UserError where `a` has fewer than two clips.
    """
    if a.num_clips < 2:
        raise UserError(f"an interval needs two clips, found {a.num_clips}; give more")
    reference = moments(b.rows) if isinstance(b, ClipEmbeddings) else b
    num_groups = min(resamples, a.num_clips)
    group = np.random.default_rng(seed).permutation(a.num_clips) % num_groups
    values = _left_out(a.rows, group[a.clip], num_groups, reference)
    error = np.sqrt((num_groups - 1) / num_groups * np.square(values - values.mean()).sum())
    reach = float(stdtrit(num_groups - 1, (1 + CONFIDENCE) / 2) * error)
    return _around(frechet(moments(a.rows), reference), reach)


def _around(square: float, reach: float) -> tuple[float, float]:
    """square +- reach, but even on the scale of the distance, of which a Fréchet distance is the square: never below 0."""
    centre = np.sqrt(square)
    half = reach / max(2 * centre, np.sqrt(reach), np.finfo(np.float64).tiny)
    return float(max(0.0, centre - half) ** 2), float((centre + half) ** 2)


def _left_out(rows: NDArray[Any], group: NDArray[np.int64], num_groups: int, reference: Moments) -> Floats:
    """The distance to `reference` with each group of rows left out in turn (num_groups,).

    The rows are turned into the reference's own axes once; the singular values are then roots of eigenvalues of their Gram
    matrix, over rows or over axes, whichever is smaller.
    """
    shifted = np.asarray(rows, dtype=np.float64) - reference.mean
    turned = shifted @ reference.root
    by_rows = len(turned) < turned.shape[1]
    gram = turned @ turned.T if by_rows else turned
    spread = np.square(reference.root).sum()
    values = np.empty(num_groups)
    for index in range(num_groups):
        kept = group != index
        mean = shifted[kept].mean(axis=0)
        freedom = max(1, int(kept.sum()) - 1)  # a single row has no spread
        overlap = np.linalg.eigvalsh(_centred_gram(gram, kept, by_rows) / freedom).clip(min=0)
        own = np.square(shifted[kept] - mean).sum() / freedom
        values[index] = mean @ mean + own + spread - 2 * np.sqrt(overlap).sum()
    return values


def _centred_gram(gram: Floats, kept: NDArray[np.bool_], by_rows: bool) -> Floats:
    """Of the rows kept, without their mean: from all inner products of rows, or from the rows themselves."""
    if by_rows:
        part = gram[np.ix_(kept, kept)]
        part = part - part.mean(axis=0)
        return np.asarray(part - part.mean(axis=1, keepdims=True))
    part = gram[kept] - gram[kept].mean(axis=0)
    return np.asarray(part.T @ part)


def diversity(means: NDArray[Any]) -> float:
    """Mean cosine distance over all pairs of clips, 0 to 2; means (num_clips, D), at least two."""
    count = len(means)
    if count < 2:
        raise UserError(f"diversity needs two clips, found {count}; give more")
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    # A clip without any direction is like its own kind and unlike all others: an axis of its own.
    units = np.concatenate([means / np.where(norms > 0, norms, 1), norms == 0], axis=1)
    total = units.sum(axis=0)
    return max(0.0, float(1 - (total @ total - count) / (count * (count - 1))))
