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
    if count > dim:
        stats = EmbeddingStats.from_rows(rows)
        _needs_finite(stats.scatter)  # a broken row breaks it too, and it is the smaller one
        return stats
    exact = np.asarray(rows, dtype=np.float64)
    _needs_finite(exact)
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


def _needs_finite(numbers: Floats) -> None:
    if not np.isfinite(numbers).all():
        raise UserError("embeddings hold numbers that are not finite; look for broken clips, there is no distance to them")


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
    left out bias a resample upwards, the more the fewer rows for the dimensions. Therefore a resample is not computed anew:
    each clip counts with its `pull`, as often as it is drawn (the bootstrap with infinitesimal weights; Efron, "The Jackknife,
    the Bootstrap and Other Resampling Plans", 1982, chapter 6), which takes one eigendecomposition for all resamples. On
    simulated clips of 16, 128 and 1,024 dimensions it holds the truth in 93 to 99 % of draws and is 1.0 to 1.5 times as wide
    as need be; percentiles of whole resamples hold it in 0 to 91 %, and whole resamples centred anew are up to six times too
    wide where rows are fewer than dimensions.

    Raises UserError where `a` has fewer than two clips.
    """
    if a.num_clips < 2:
        raise UserError(f"an interval needs two clips, found {a.num_clips}; give more")
    reference = moments(b.rows) if isinstance(b, ClipEmbeddings) else b
    square = frechet(moments(a.rows), reference)
    centre = np.sqrt(square)
    moved = (draws(a.num_clips, resamples, seed) - 1) @ pulls(a, reference)
    half = reach(moved, a.num_clips) / max(2 * centre, np.finfo(np.float64).tiny)
    return float(max(0.0, centre - half) ** 2), float((centre + half) ** 2)


def pulls(clips: ClipEmbeddings, reference: Moments) -> Floats:
    """By how much the distance to `reference` grows with the weight of each clip (num_clips,); they sum to 0."""
    rows = np.asarray(clips.rows, dtype=np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    spread = np.square(rows).sum(axis=1) - _root_trace_pulls(rows @ reference.root)
    # covariances are over N - 1 rows, shares over N
    grown = 2 * rows @ (mean - reference.mean) + spread * len(rows) / (len(rows) - 1)
    grown -= grown.mean()
    return np.bincount(clips.clip, grown, clips.num_clips) / len(rows)


def _root_trace_pulls(turned: Floats) -> Floats:
    """Centred rows (N, K) -> twice the derivative of tr (S)^(1/2), S their covariance, by the share of each row (N,).

    d tr S^(1/2) = tr (S^(-1/2) dS) / 2, and dS is the row's outer product. Of fewer rows than axes, S^(-1/2) between rows is
    found from the eigenvectors of their inner products.
    """
    count, dim = turned.shape
    by_rows = count < dim
    values, vectors = np.linalg.eigh((turned @ turned.T if by_rows else turned.T @ turned) / (count - 1))
    present = values > values.max(initial=0) * len(values) * np.finfo(np.float64).eps
    roots = np.sqrt(values[present])
    if by_rows:
        return np.asarray(np.square(vectors[:, present]) @ roots * (count - 1))
    return np.asarray(np.square(turned @ vectors[:, present]) @ (1 / roots))
