"""The Fréchet distance at infinitely many clips, extrapolated from fewer: the bias falls with one over their number.

After Chong and Forsyth, "Effectively Unbiased FID", 2020, and Gui et al., "Adapting Fréchet Audio Distance", 2024; unlike
there, whole clips are drawn, without replacement, since the windows of a clip are alike.
"""

import numpy as np

from foleyray.config import Config
from foleyray.metrics.distances import Moments, frechet, moments, pulls
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.intervals import draws, reach
from foleyray.metrics.stats import Floats

FEWEST_CLIPS, NUM_SIZES, REPEATS = 50, 6, 5
LEAST_RATIO = 1.5
"""Largest over smallest number of clips; below it, the line is as long as it is wide."""
LEAST_R2 = 0.8


class Extrapolation(Config):
    """FAD = intercept + slope / clips. `value` is the intercept where the line holds, else None and `refusal` says why."""

    value: float | None
    interval: tuple[float, float] | None
    """95 %, were other clips drawn; beside a value only."""
    refusal: str | None
    slope: float | None
    r2: float | None
    """Of the line through the mean distance at each size."""
    sizes: tuple[int, ...]
    """Numbers of clips."""


def fad_infinity(clips: ClipEmbeddings, reference: Moments, *, seed: int, resamples: int = 200) -> Extrapolation:
    """Line through the mean distance of random parts of `clips`, 50 to all of them, evenly spaced in one over the number.

    The bias of the reference's own number stays; the value may fall below 0 for a very good generator. The interval is a
    bootstrap by clip as in `frechet_interval`, on the scale of the distance.
    """
    sizes = part_sizes(clips.num_clips)
    if not sizes:
        needed = round(FEWEST_CLIPS * LEAST_RATIO)
        return _refused(f"needs {needed} clips at least, found {clips.num_clips}")
    generator = np.random.default_rng(seed)
    found = [_mean_distance(clips, size, reference, generator) for size in sizes]
    means, pulled = (np.array(side) for side in zip(*found, strict=True))
    # intercept and slope are sums over the sizes, so what a clip pulls at them is a sum of what it pulls at each size
    shares = np.linalg.pinv(np.stack([np.ones(len(sizes)), 1 / np.array(sizes)], axis=1))
    intercept, slope = (float(share @ means) for share in shares)
    left = np.square(means - (intercept + slope / np.array(sizes))).sum()
    r2 = float(1 - left / max(np.square(means - means.mean()).sum(), np.finfo(np.float64).tiny))
    if r2 < LEAST_R2:
        return _refused(f"no line in one over the clips: R² {r2:.2f}, at least {LEAST_R2} is needed", slope, r2, sizes)
    half = reach((draws(clips.num_clips, resamples, seed) - 1) @ (shares[0] @ pulled), clips.num_clips)
    interval = (intercept - half, intercept + half)
    return Extrapolation(value=intercept, interval=interval, refusal=None, slope=slope, r2=r2, sizes=sizes)


def part_sizes(num_clips: int) -> tuple[int, ...]:
    """Numbers of clips from 50 to all, evenly spaced in one over the number; empty where there are fewer than 75."""
    if num_clips < FEWEST_CLIPS * LEAST_RATIO:
        return ()
    return tuple(round(1 / inverse) for inverse in np.linspace(1 / FEWEST_CLIPS, 1 / num_clips, NUM_SIZES))


def _refused(why: str, slope: float | None = None, r2: float | None = None, sizes: tuple[int, ...] = ()) -> Extrapolation:
    return Extrapolation(value=None, interval=None, refusal=why, slope=slope, r2=r2, sizes=sizes)


def _mean_distance(
    clips: ClipEmbeddings, size: int, reference: Moments, generator: np.random.Generator
) -> tuple[float, Floats]:
    """Over random parts of `size` clips (of all clips there is one part only), and each clip's pull on it (num_clips,)."""
    repeats = REPEATS if size < clips.num_clips else 1
    total, pulled = 0.0, np.zeros(clips.num_clips)
    for _ in range(repeats):
        places = np.sort(generator.permutation(clips.num_clips)[:size])
        part = clips.take(places)
        total += frechet(moments(part.rows), reference) / repeats
        pulled[places] += pulls(part, reference) / repeats
    return total, pulled
