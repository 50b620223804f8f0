"""How various one set of clips is, one vector a clip: mean cosine distance and the Vendi score."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foleyray.config import UserError
from foleyray.metrics.pairs import mean_of_pairs
from foleyray.metrics.stats import Floats


def cosines(means: NDArray[Any], others: NDArray[Any]) -> Floats:
    """Cosine similarity of vectors (N, D) with others (M, D) -> (N, M).

    A clip without any direction is like its own kind and unlike all others: it has an axis of its own.
    """
    return np.asarray(_units(means) @ _units(others).T)


def diversity(means: NDArray[Any]) -> float:
    """Mean cosine distance over all pairs of clips, 0 to 2; means (num_clips, D), at least two."""
    return float(spread(_similarities(means), np.ones((1, len(means))))[0])


def vendi(means: NDArray[Any]) -> float:
    """Effective number of different clips, 1 to num_clips, by cosine similarity; means (num_clips, D), at least two.

    Exponential of the entropy of the eigenvalues of similarity / num_clips (Friedman and Dieng, "The Vendi Score", 2023).
    """
    return float(effective_number(_similarities(means), np.ones((1, len(means))))[0])


def spread(similarities: Floats, weights: Floats) -> Floats:
    """Mean cosine distance of different clips for each row of weights (R, N) -> (R,), of similarities (N, N)."""
    return mean_of_pairs(1 - similarities, weights).clip(min=0)


def effective_number(similarities: Floats, weights: Floats) -> Floats:
    """The Vendi score for each row of weights (R, N) -> (R,), of similarities (N, N)."""
    scores = np.empty(len(weights))
    for index, row in enumerate(weights):
        drawn = row > 0
        root = np.sqrt(row[drawn] / row.sum())
        values = np.linalg.eigvalsh(similarities[np.ix_(drawn, drawn)] * root * root[:, None])
        present = values[values > 0]
        scores[index] = np.exp(-(present * np.log(present)).sum())
    return scores


def _similarities(means: NDArray[Any]) -> Floats:
    if len(means) < 2:
        raise UserError(f"diversity needs two clips, found {len(means)}; give more")
    return cosines(means, means)


def _units(means: NDArray[Any]) -> Floats:
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return np.concatenate([means / np.where(norms > 0, norms, 1), norms == 0], axis=1)
