"""How far two sets of embeddings lie apart by the Fréchet distance, and how sure that is. Tables live in `scores.py`.

The Fréchet distance of Gaussians is |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Dowson and Landau, 1982; Kilgour et
al., "Fréchet Audio Distance", 2019). With a root B B' = S_b, the trace of the matrix root is the sum of the square roots of
the eigenvalues of B' S_a B, which is symmetric: always real, never negative, and defined where covariances are singular.
Of few rows the centred rows are such a root themselves, so their covariance is never made.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foleyray.config import UserError
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.intervals import draws, reach
from foleyray.metrics.stats import EmbeddingStats, Floats

STEP = 0.05
"""How far a resample of clips is followed, as a share of its weights; see `frechet_interval`."""


@dataclass(frozen=True, eq=False)
class FewRows:
    """The moments of fewer rows than dimensions: `mean` (D,), and `root` (D, count) with root @ root.T the covariance."""

    count: int
    mean: Floats
    root: Floats


Moments = EmbeddingStats | FewRows
"""A Gaussian: `count` rows, their `mean` (D,), and a `root` (D, rank) of their covariance."""


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
    """The distance of two Gaussians, at least 0; raises UserError where a side has fewer than two rows or the dims differ.

    Where both sides have more rows than dimensions, the root of `b` is made once and kept with it: let `b` be the reference.
    """
    _needs_two(min(a.count, b.count))
    if a.mean.size != b.mean.size:
        raise UserError(f"embeddings of {a.mean.size} and {b.mean.size} dimensions do not compare; use one embedder for both")
    step = a.mean - b.mean
    return max(0.0, float(step @ step + _variance(a) + _variance(b) - 2 * _overlap(a, b)))


def frechet_rows(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The same distance from rows (N, D) and (M, D)."""
    return frechet(moments(a), moments(b))


def _needs_two(count: int) -> None:
    if count < 2:
        raise UserError(f"a Fréchet distance needs two frames a side, found {count}; give more clips")


def _variance(side: Moments) -> float:
    """The trace of the covariance."""
    if isinstance(side, FewRows):
        return float(np.square(side.root).sum())
    return float(np.trace(side.scatter)) / (side.count - 1)


def _overlap(a: Moments, b: Moments) -> float:
    """tr (S_a S_b)^(1/2) by the smaller of the symmetric matrices that have the eigenvalues of S_a S_b."""
    if isinstance(a, FewRows) and (isinstance(b, EmbeddingStats) or a.count < b.count):
        a, b = b, a
    if isinstance(a, FewRows):
        cross = a.root.T @ b.root
        return _root_trace(cross.T @ cross)
    return _root_trace(b.root.T @ a.covariance @ b.root)


def _root_trace(square: Floats) -> float:
    """The trace of the root of a symmetric matrix without negative eigenvalues; what rounding leaves of zeros is left out."""
    values = np.linalg.eigvalsh(square)
    least = values.max(initial=0) * len(values) * np.finfo(np.float64).eps
    return float(np.sqrt(values[values > least]).sum())


def frechet_interval(
    a: ClipEmbeddings, b: ClipEmbeddings | Moments, *, resamples: int = 200, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the distance of clips `a` to `b`, were other clips drawn as `a` was; `b` is taken as it is.

    A bootstrap by clip, since the frames of a clip are alike, of the distance's square root, centred on the estimate. It is
    the interval of the distance *at this number of clips*, bias included: compare it at equal counts. Clips drawn twice or
    left out bias a resample upwards, the more the fewer rows for the dimensions. Therefore each resample is followed by STEP
    of its way only, clips weighing 1 + STEP (times drawn - 1), and the spread is divided by STEP (exchangeable weights:
    Praestgaard and Wellner, 1993). On simulated clips of 16, 128 and 1,024 dimensions it holds the truth in 93 to 99 % of
    draws and is 1.0 to 1.6 times as wide as need be, as a jackknife is; percentiles of whole resamples hold it in 0 to 91 %,
    and whole resamples centred anew are up to six times too wide where rows are fewer than dimensions.

    Raises UserError where `a` has fewer than two clips.
    """
    if a.num_clips < 2:
        raise UserError(f"an interval needs two clips, found {a.num_clips}; give more")
    reference = moments(b.rows) if isinstance(b, ClipEmbeddings) else b
    weights = 1 + STEP * (draws(a.num_clips, resamples, seed) - 1)
    half = reach(np.sqrt(_weighted(a, weights, reference)), a.num_clips) / STEP
    centre = np.sqrt(frechet(moments(a.rows), reference))
    return float(max(0.0, centre - half) ** 2), float((centre + half) ** 2)


def _weighted(clips: ClipEmbeddings, weights: Floats, reference: Moments) -> Floats:
    """The distance to `reference` for each row of positive `weights` (R, num_clips) of the clips -> (R,)."""
    rows = np.asarray(clips.rows, dtype=np.float64)
    centre = rows.mean(axis=0)
    rows -= centre
    shares = weights[:, clips.clip]
    counts = shares.sum(axis=1)
    shares /= counts[:, None]
    means = shares @ rows
    variances = shares @ np.square(rows).sum(axis=1) - np.square(means).sum(axis=1)
    stretch = counts / (counts - 1)
    steps = np.square(means + centre - reference.mean).sum(axis=1)
    overlaps = np.sqrt(stretch) * _overlaps(rows, shares, reference.root)
    return np.asarray(steps + stretch * variances + _variance(reference) - 2 * overlaps).clip(min=0)


def _overlaps(rows: Floats, shares: Floats, root: Floats) -> Floats:
    """tr (S_w R R')^(1/2) for each row of shares w (R, N) that sum to 1, S_w the covariance of `rows` (N, D) so weighted.

    The rows are turned into the axes of the root once. The matrix whose eigenvalues are sought is then one over axes or, where
    rows are fewer, one over rows: their inner products, which other weights and another mean leave to be scaled only.
    """
    turned = rows @ root
    if len(turned) < turned.shape[1]:
        products = turned @ turned.T
        return np.array([_root_trace(_products_around_mean(products, share)) for share in shares])
    return np.array([_root_trace(_scatter(turned, share)) for share in shares])


def _scatter(rows: Floats, share: Floats) -> Floats:
    """Of rows (N, D) around their mean, weighted by shares (N,) -> (D, D)."""
    mean = share @ rows
    scaled = rows * np.sqrt(share)[:, None]
    return np.asarray(scaled.T @ scaled - np.outer(mean, mean))


def _products_around_mean(products: Floats, share: Floats) -> Floats:
    """From the inner products (N, N) of rows those of the same rows without their mean, each times the root of its share."""
    with_mean = share @ products
    root = np.sqrt(share)
    return np.asarray((products - with_mean - with_mean[:, None] + share @ with_mean) * root * root[:, None])
