"""Kernel Audio Distance: how unlike two sets of clips are, without the shape of a Gaussian and without bias by their number."""

import numpy as np

from foleyray.config import UserError
from foleyray.metrics.pairs import Pairs, mean_of_pairs
from foleyray.metrics.stats import Floats

SCALE = 100.0


def bandwidth(reference: Floats) -> float:
    """The median distance between different clips of a reference (M, M); raises UserError where that is 0."""
    median = float(np.median(reference[np.triu_indices_from(reference, k=1)]))
    if median == 0:
        raise UserError("half of the reference clips or more are the same sound, so KAD has no scale; give different clips")
    return median


def kad(pairs: Pairs, weights: Floats) -> Floats:
    """100 times the unbiased squared maximum mean discrepancy, for each row of weights (R, N) of the generated clips -> (R,).

    The kernel is a Gaussian with the reference's bandwidth. For clips of one law it is 0 on average, so it can fall below
    (Chung et al., "KAD: No More FAD!", 2025; Gretton et al., "A Kernel Two-Sample Test", 2012, eq. 3).
    """
    width = bandwidth(pairs.reference)
    real, own, across = (np.exp(-np.square(part / width) / 2) for part in (pairs.reference, pairs.generated, pairs.across))
    everyone = np.ones((1, len(real)))
    likeness = weights @ across.mean(axis=0) / weights.sum(axis=1)
    return np.asarray(SCALE * (mean_of_pairs(real, everyone) + mean_of_pairs(own, weights) - 2 * likeness))
