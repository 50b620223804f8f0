"""Euclidean distances between clips, one vector a clip: what kernel and neighbour metrics are made of."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from foleyray.config import UserError
from foleyray.metrics.stats import Floats


@dataclass(frozen=True, eq=False)
class Pairs:
    """Distances within the reference (M, M), within the generated clips (N, N), and across (M, N)."""

    reference: Floats
    generated: Floats
    across: Floats


def pairs(generated: NDArray[Any], reference: NDArray[Any]) -> Pairs:
    """Of vectors (N, D) and (M, D); raises UserError where dims differ, a number is not finite, or a side has under two."""
    for side, means in (("generated", generated), ("reference", reference)):
        if len(means) < 2:
            raise UserError(f"comparing clips needs two {side} ones at least, found {len(means)}; give more")
        if not np.isfinite(means).all():
            raise UserError(f"{side} embeddings hold numbers that are not finite; look for broken clips, leave them out")
    if generated.shape[1] != reference.shape[1]:
        dims = f"{generated.shape[1]} and {reference.shape[1]}"
        raise UserError(f"embeddings of {dims} dimensions do not compare; use one embedder for both")
    return Pairs(cdist(reference, reference), cdist(generated, generated), cdist(reference, generated))


def mean_of_pairs(values: Floats, weights: Floats) -> Floats:
    """The mean of symmetric `values` (N, N) over pairs of different clips, for each row of weights (R, N) -> (R,).

    A clip that is drawn twice is not paired with itself; where only one clip is drawn the mean is 0.
    """
    squares = np.square(weights)
    products = np.einsum("rn,rn->r", weights @ values, weights) - squares @ np.diagonal(values)
    mass = np.square(weights.sum(axis=1)) - squares.sum(axis=1)
    return np.asarray(np.divide(products, mass, out=np.zeros(len(weights)), where=mass > 0))
