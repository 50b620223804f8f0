"""The Fréchet distance at infinitely many clips, extrapolated from fewer: the bias falls with one over their number.

After Chong and Forsyth, "Effectively Unbiased FID", 2020, and Gui et al., "Adapting Fréchet Audio Distance", 2024; unlike
there, whole clips are drawn, without replacement, since the windows of a clip are alike.
"""

import numpy as np

from foleyray.config import Config
from foleyray.metrics.distances import Moments, frechet, moments
from foleyray.metrics.embeddings import ClipEmbeddings

FEWEST_CLIPS, NUM_SIZES, REPEATS = 50, 6, 5
LEAST_RATIO = 1.5
"""Largest over smallest number of clips; below it, the line is as long as it is wide."""
LEAST_R2 = 0.8


class Extrapolation(Config):
    """FAD = intercept + slope / clips. `value` is the intercept where the line holds, else None and `refusal` says why."""

    value: float | None
    refusal: str | None
    slope: float | None
    r2: float | None
    """Of the line through the mean distance at each size."""
    sizes: tuple[int, ...]
    """Numbers of clips."""


def fad_infinity(clips: ClipEmbeddings, reference: Moments, *, seed: int) -> Extrapolation:
    """Line through the mean distance of random parts of `clips`, 50 to all of them, evenly spaced in one over the number.

    The bias of the reference's own number stays; the value may fall below 0 for a very good generator.
    """
    sizes = part_sizes(clips.num_clips)
    if not sizes:
        needed = round(FEWEST_CLIPS * LEAST_RATIO)
        return Extrapolation(
            value=None, refusal=f"needs {needed} clips at least, found {clips.num_clips}", slope=None, r2=None, sizes=()
        )
    generator = np.random.default_rng(seed)
    means = np.array([_mean_distance(clips, size, reference, generator) for size in sizes])
    slope, intercept = np.polyfit(1 / np.array(sizes), means, 1)
    left = np.square(means - (intercept + slope / np.array(sizes))).sum()
    r2 = 1 - left / max(np.square(means - means.mean()).sum(), np.finfo(np.float64).tiny)
    holds = bool(r2 >= LEAST_R2)
    return Extrapolation(
        value=float(intercept) if holds else None,
        refusal=None if holds else f"no line in one over the clips: R² {r2:.2f}, at least {LEAST_R2} is needed",
        slope=float(slope),
        r2=float(r2),
        sizes=sizes,
    )


def part_sizes(num_clips: int) -> tuple[int, ...]:
    """Numbers of clips from 50 to all, evenly spaced in one over the number; empty where there are fewer than 75."""
    if num_clips < FEWEST_CLIPS * LEAST_RATIO:
        return ()
    return tuple(round(1 / inverse) for inverse in np.linspace(1 / FEWEST_CLIPS, 1 / num_clips, NUM_SIZES))


def _mean_distance(clips: ClipEmbeddings, size: int, reference: Moments, generator: np.random.Generator) -> float:
    """Over random parts of `size` clips; of all clips there is one part only."""
    repeats = REPEATS if size < clips.num_clips else 1
    parts = [clips.take(np.sort(generator.permutation(clips.num_clips)[:size])) for _ in range(repeats)]
    return float(np.mean([frechet(moments(part.rows), reference) for part in parts]))
