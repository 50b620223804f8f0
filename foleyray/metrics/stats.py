"""Statistics of embeddings: count, mean and scatter, which is all a Fréchet distance needs. They form a monoid: merging
in any order and over any partition gives what one pass gives.

Always in float64 and always centred (Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm", 1979): sums of raw
products lose the small eigenvalues. What is measured with them lives in `distances.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from foleyray.config import UserError

Floats = NDArray[np.float64]

ROWS_AT_ONCE = 8192
"""Bounds the float64 copy of float32 rows."""


@dataclass(frozen=True, eq=False)
class EmbeddingStats:
    """count rows of D numbers: their mean (D,) and their scatter (D, D), the sum of outer products of what is left."""

    count: int
    mean: Floats
    scatter: Floats

    @classmethod
    def empty(cls, dim: int) -> Self:
        """Of no rows yet."""
        return cls(0, np.zeros(dim), np.zeros((dim, dim)))

    @classmethod
    def from_rows(cls, rows: NDArray[Any]) -> Self:
        """rows (N, D) of any float type."""
        whole = cls.empty(rows.shape[1])
        for start in range(0, len(rows), ROWS_AT_ONCE):
            block = np.asarray(rows[start : start + ROWS_AT_ONCE], dtype=np.float64)
            mean = block.mean(axis=0)
            centred = block - mean
            whole = whole.merge(cls(len(block), mean, centred.T @ centred))
        return whole

    @classmethod
    def from_moments(cls, mean: NDArray[Any], covariance: NDArray[Any], count: int) -> Self:
        """From a published mean (D,) and unbiased covariance (D, D) of `count` rows; raises UserError where they do not fit."""
        return cls.from_arrays({"count": count, "mean": mean, "scatter": np.asarray(covariance, np.float64) * (count - 1)})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """From what `to_arrays` gave; raises UserError where shapes do not fit or numbers are not finite."""
        count = int(arrays["count"])
        mean, scatter = (np.asarray(arrays[key], dtype=np.float64) for key in ("mean", "scatter"))
        if mean.ndim != 1 or scatter.shape != (mean.size, mean.size) or count < 0:
            raise UserError(f"statistics of {count} rows: mean {mean.shape}, scatter {scatter.shape}; expected (D,) and (D, D)")
        if not (np.isfinite(mean).all() and np.isfinite(scatter).all()):
            raise UserError("statistics hold numbers that are not finite; compute them again")
        return cls(count, mean, (scatter + scatter.T) / 2)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Plain arrays, for `numpy.savez` or a table."""
        return {"count": np.asarray(self.count), "mean": self.mean, "scatter": self.scatter}

    @property
    def dim(self) -> int:
        return self.mean.size

    @cached_property
    def covariance(self) -> Floats:
        """(D, D), unbiased; needs two rows."""
        assert self.count > 1, "a covariance needs two rows"
        return self.scatter / (self.count - 1)

    @cached_property
    def root(self) -> Floats:
        """(D, rank) with root @ root.T the covariance: its eigenvectors, scaled; directions of no variance are left out.

        Kept, since a reference is met many times.
        """
        values, vectors = np.linalg.eigh(self.covariance)
        present = values > values[-1] * self.dim * np.finfo(np.float64).eps
        return np.asarray(vectors[:, present] * np.sqrt(values[present]))

    def add(self, rows: NDArray[Any]) -> Self:
        """With more rows (N, D); N may be 0."""
        return self.merge(self.from_rows(rows))

    def merge(self, other: Self) -> Self:
        """As if the rows of both had been seen in one pass."""
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        step = other.mean - self.mean
        between = np.outer(step, step) * (self.count * other.count / count)
        return type(self)(count, self.mean + step * (other.count / count), self.scatter + other.scatter + between)

    @staticmethod
    def mix(stats: Sequence["EmbeddingStats"], shares: Sequence[float]) -> "EmbeddingStats":
        """Of a pool drawn from several sources by shares that sum to 1; exact where shares are those of the counts.

        Its count is the effective one, 1 / sum(share^2 / count) (Kish, "Survey Sampling", 1965), which is the pool's own where
        shares are those of the counts.
        """
        assert abs(sum(shares) - 1) < 1e-6 and min(shares) >= 0, f"shares must sum to 1, found {shares}"
        used = [(part, share) for part, share in zip(stats, shares, strict=True) if share > 0]
        mean = np.sum([share * part.mean for part, share in used], axis=0)
        within = np.sum([share / part.count * part.scatter for part, share in used], axis=0)
        between = np.sum([share * np.outer(part.mean - mean, part.mean - mean) for part, share in used], axis=0)
        count = round(1 / sum(share**2 / part.count for part, share in used))
        return EmbeddingStats(count, mean, count * (within + between))
