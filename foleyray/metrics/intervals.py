"""How sure a number about a set of clips is: other clips of the same generator stood in for by a bootstrap over clips.

The reference is taken as it is. A resample is a row of weights, how often each clip is drawn, so that a statistic is
computed for all resamples from what was measured on the clips once.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import stdtrit

from foleyray.config import Config
from foleyray.metrics.stats import Floats

CONFIDENCE = 0.95

Statistic = Callable[[Floats], Floats]
"""Weights of clips (R, num_clips) -> a number for each row of them (R,)."""


class Measured(Config):
    """A number and its 95 % interval."""

    value: float
    interval: tuple[float, float]


def draws(num_clips: int, resamples: int, seed: int) -> Floats:
    """How often each clip is drawn, with replacement, in each resample (resamples, num_clips)."""
    shares = np.full(num_clips, 1 / num_clips)
    return np.random.default_rng(seed).multinomial(num_clips, shares, size=resamples).astype(np.float64)


def reach(values: Floats, num_clips: int) -> float:
    """Half the width of an interval around the estimate, from the `values` of resamples: the spread is theirs, the place is
    not, for clips drawn twice bias most of our numbers. Student's t and the factor below mend the few clips."""
    error = np.std(values, ddof=1) * np.sqrt(num_clips / (num_clips - 1))
    return float(stdtrit(num_clips - 1, (1 + CONFIDENCE) / 2) * error)


def measured(statistic: Statistic, weights: Floats, least: float = -np.inf, most: float = np.inf) -> Measured:
    """The statistic of all clips once, and its interval from resamples `weights` as of `draws`, cut to `least` and `most`."""
    return _around(_of_all(statistic, weights), reach(statistic(weights), weights.shape[1]), least, most)


def measured_share(statistic: Statistic, weights: Floats) -> Measured:
    """The same of a share, 0 to 1, never surer than 3 / num_clips: where all or no clips count, no resample moves.

    The rule of three (Hanley and Lippman-Hand, "If Nothing Goes Wrong, Is Everything All Right?", 1983).
    """
    num_clips = weights.shape[1]
    return _around(_of_all(statistic, weights), max(3 / num_clips, reach(statistic(weights), num_clips)), 0, 1)


def _of_all(statistic: Statistic, weights: Floats) -> float:
    return float(statistic(np.ones((1, weights.shape[1])))[0])


def _around(value: float, half: float, least: float, most: float) -> Measured:
    return Measured(value=value, interval=(max(least, value - half), min(most, value + half)))
