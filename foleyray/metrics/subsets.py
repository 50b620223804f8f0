"""Many choices among the same clips, each measured as a set of its own: distance, diversity and kernel distance.

The rows are turned by the reference's root once, so that a choice costs the eigenvalues of one symmetric matrix: of the
inner products of its rows where these are fewer than the axes, which then are only looked up. That part is torch's, whose
threads can be told to keep to one core each: choices in several threads then do not wait for one another.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foleyray.config import UserError
from foleyray.metrics.diversity import cosines, spread
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.kernel import kad
from foleyray.metrics.pairs import pairs
from foleyray.metrics.reference import ReferenceClass

Places = Sequence[int] | NDArray[np.int64]

MOST_PRODUCTS = 8192
"""Rows up to which all inner products are kept (0.5 GB); beyond, those of a choice are made for it."""


class Subsets:
    """The clips to choose from and the reference; a choice is the places of its clips, each at most once."""

    def __init__(self, clips: ClipEmbeddings, reference: ReferenceClass) -> None:
        """Raises UserError where a row is not finite or the dimensions differ."""
        goal = reference.moments
        if clips.rows.shape[1] != goal.mean.size:
            dims = f"{clips.rows.shape[1]} and {goal.mean.size}"
            raise UserError(f"embeddings of {dims} dimensions do not compare; use one embedder for both")
        rows = clips.rows - goal.mean  # float64
        if not np.isfinite(rows).all():
            raise UserError("embeddings hold numbers that are not finite; look for broken clips, there is no distance to them")
        self.first = np.searchsorted(clips.clip, np.arange(clips.num_clips + 1))
        self.sums, self.squares = (np.add.reduceat(part, self.first[:-1]) for part in (rows, np.square(rows).sum(axis=1)))
        self.variance = float(np.square(goal.root).sum())
        self.means, self.reference = clips.means(), reference
        self.alike = cosines(self.means, self.means)
        middle = rows.mean(axis=0)  # moves no covariance, and keeps the products exact
        self.turned = torch.from_numpy(rows - middle) @ torch.from_numpy(np.ascontiguousarray(goal.root))
        self.known: dict[bytes, float] = {}

    @cached_property
    def products(self) -> Tensor | None:
        """Of all rows with one another (N, N)."""
        return self.turned @ self.turned.T if len(self.turned) <= MOST_PRODUCTS else None

    def prepare(self) -> None:
        """Makes what all choices share, before several threads ask for it."""
        _ = self.products

    def frechet(self, chosen: Places) -> float:
        """The distance of these clips to the reference, at least 0, as `distances.frechet` gives it; two rows are needed."""
        places = np.sort(np.asarray(chosen, dtype=np.int64))
        key = places.tobytes()
        if key not in self.known:
            self.known[key] = self._frechet(places)
        return self.known[key]

    def _frechet(self, places: NDArray[np.int64]) -> float:
        rows = np.concatenate([np.arange(self.first[place], self.first[place + 1]) for place in places])
        count = len(rows)
        if count < 2:
            raise UserError(f"a Fréchet distance needs two frames a side, found {count}; give more clips")
        step = self.sums[places].sum(axis=0) / count
        own = (self.squares[places].sum() - count * (step @ step)) / (count - 1)
        values = torch.linalg.eigvalsh(self._spread(torch.from_numpy(rows)) / (count - 1))
        least = values[-1:] * len(values) * torch.finfo(torch.float64).eps
        overlap = float(values[values > least].sqrt().sum())
        return max(0.0, float(step @ step + own + self.variance - 2 * overlap))

    def _spread(self, rows: Tensor) -> Tensor:
        """The smaller matrix with the eigenvalues of the turned rows' scatter."""
        fewer = len(rows) <= self.turned.shape[1]
        if fewer and self.products is not None:
            inner = self.products[rows][:, rows]
            means = inner.mean(dim=0)
            return inner - means - means[:, None] + means.mean()
        turned = self.turned[rows]
        turned = turned - turned.mean(dim=0)
        return turned @ turned.T if fewer else turned.T @ turned

    def diversity(self, chosen: Places) -> float:
        """Mean cosine distance of the pairs of these clips, 0 to 2; two clips are needed."""
        return float(spread(self.alike[np.ix_(np.asarray(chosen), np.asarray(chosen))], np.ones((1, len(chosen))))[0])

    def kad(self, chosen: Places) -> float | None:
        """The kernel distance of these clips to the reference; None where that came without its clips."""
        if self.reference.means is None:
            return None
        found = kad(pairs(self.means[np.asarray(chosen)], self.reference.means.astype(np.float64)), np.ones((1, len(chosen))))
        return float(found[0])
