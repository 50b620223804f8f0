"""The weighted average score (WAS) of DCASE 2023 Task 7, of arrays of scores, and how sure it is.

Scores are drawn anew, listeners and clips in turn: what varies with either is what other listeners, or other clips of the
same generator, would change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import stdtrit

from foleyray.listening.key import BlindSet, Scale
from foleyray.listening.ratings import Sheet
from foleyray.metrics.intervals import CONFIDENCE
from foleyray.metrics.stats import Floats

RESAMPLES = 2_000
LOWEST, HIGHEST = 1.0, 10.0

Number = TypeVar("Number", float, Floats)


def was(quality: Number, fit: Number, diversity: Number | None = None) -> Number:
    """(2 Q + 2 F + D) / 5, or the mean of Q and F where diversity was not scored, as of the challenge's baseline."""
    return (quality + fit) / 2 if diversity is None else (2 * quality + 2 * fit + diversity) / 5


@dataclass(frozen=True, eq=False)
class SetScores:
    """Of one set by R listeners: quality (R, C) and fit (R, C) of its clips, diversity (R, 1); not a number where missing."""

    quality: Floats
    fit: Floats
    diversity: Floats

    @property
    def num_ratings(self) -> int:
        return sum(int(np.isfinite(part).sum()) for part in (self.quality, self.fit, self.diversity))

    @property
    def num_raters(self) -> int:
        parts = np.hstack([self.quality, self.fit, self.diversity])
        return int(np.isfinite(parts).any(axis=1).sum())

    def means(self) -> dict[Scale, float]:
        """Over all ratings; not a number where there are none."""
        raters, clips = (np.ones((1, length)) for length in self.quality.shape)
        return {name: float(values[0]) for name, values in self.weighted(raters, clips).items()}

    def weighted(self, raters: Floats, clips: Floats) -> dict[Scale, Floats]:
        """Means of each scale (B,) under weights of listeners (B, R) and of clips (B, C)."""
        whole = np.ones((len(raters), 1))
        return {
            "quality": _mean(self.quality, raters, clips),
            "fit": _mean(self.fit, raters, clips),
            "diversity": _mean(self.diversity, raters, whole),
        }


def scores_of(found: BlindSet, item: str, sheets: Sequence[Sheet]) -> SetScores:
    """What all listeners gave to a set and its clips."""
    given = [{(rating.item, rating.scale): rating.value for rating in sheet.ratings} for sheet in sheets]

    def column(items: Sequence[str], scale: Scale) -> Floats:
        return np.array([[sheet.get((name, scale), np.nan) for name in items] for sheet in given], dtype=np.float64)

    clips = list(found.clips)
    return SetScores(column(clips, "quality"), column(clips, "fit"), column([item], "diversity"))


class Resampler:
    """The same draws of listeners for every set, for they are the same people; draws of clips for each set by itself.

    Of n things n - 1 are drawn with replacement, which makes the variance of a mean come out unbiased also where n is
    small (McCarthy and Snowden, The Bootstrap and Finite Population Sampling, 1985).
    """

    def __init__(self, scores: Mapping[str, SetScores], has_diversity: bool, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.num_raters = len(next(iter(scores.values())).quality)
        raters = _draws(self.num_raters, generator) if self.num_raters > 1 else np.ones((1, 1))
        self.by_rater, self.by_clip, self.freedom = {}, {}, {}
        for item, found in scores.items():
            num_clips = found.quality.shape[1]
            clips = _draws(num_clips, generator)
            self.by_rater[item] = _was(found.weighted(raters, np.ones((len(raters), num_clips))), has_diversity)
            self.by_clip[item] = _was(found.weighted(np.ones((len(clips), self.num_raters)), clips), has_diversity)
            self.freedom[item] = num_clips - 1

    def interval(self, items: Sequence[str], value: float | None) -> tuple[float, float] | None:
        """95 % around the mean WAS of sets; None with one listener, or where too many resamples hold no score of a term.

        The variances of listeners and of clips are added, which counts their interplay twice and so errs to the wide side;
        degrees of freedom by Satterthwaite.
        """
        if value is None or self.num_raters < 2:
            return None
        parts = [np.mean([by[item] for item in items], axis=0) for by in (self.by_rater, self.by_clip)]
        finite = [part[np.isfinite(part)] for part in parts]
        if any(len(part) < RESAMPLES / 2 for part in finite):
            return None
        freedoms = (self.num_raters - 1, sum(self.freedom[item] for item in items))
        variances = [float(part.var()) for part in finite]
        if not (total := sum(variances)):
            return value, value
        freedom = total**2 / sum(variance**2 / degrees for variance, degrees in zip(variances, freedoms, strict=True))
        half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * total**0.5
        return max(LOWEST, value - half), min(HIGHEST, value + half)


def _was(means: Mapping[Scale, Floats], has_diversity: bool) -> Floats:
    return was(means["quality"], means["fit"], means["diversity"] if has_diversity else None)


def _draws(count: int, generator: np.random.Generator) -> Floats:
    return generator.multinomial(count - 1, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)


def _mean(values: Floats, raters: Floats, clips: Floats) -> Floats:
    held = np.isfinite(values)
    total = ((raters @ np.where(held, values, 0.0)) * clips).sum(axis=1)
    count = ((raters @ held.astype(np.float64)) * clips).sum(axis=1)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
