"""Whether generated clips repeat training clips: nearer to one than real clips the generator never saw are.

Three ears: an embedding, the log-mel, and the wave itself. What they judge is in `ears.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foleyray.config import Config, UserError
from foleyray.metrics.ears import SHORTEST, Nearest, nearest_in_embedding, nearest_in_sound
from foleyray.metrics.intervals import Measured, draws, measured_share
from foleyray.metrics.stats import Floats

PERCENTILE = 5.0
NUM_LISTED = 10


@dataclass(frozen=True, eq=False)
class Recordings:
    """The same N clips as waves (N, T) int16, or float, and as one embedding vector each (N, D)."""

    waves: NDArray[Any]
    means: NDArray[Any]


class Match(Config):
    """Places of a generated clip and of the training clip nearest to it, from 0."""

    generated: int
    training: int
    distance: float


class Memorisation(Config):
    """By one ear, `embedding`, `mel` or `wave`. Of clips that repeat nothing about 5 % are expected to be closer."""

    ear: str
    threshold: float
    """The 5th percentile of the distances of held-out clips to the training clips."""
    closer_share: Measured
    """Share of the generated clips that are closer to a training clip than the threshold."""
    closer: tuple[int, ...]
    """Their places."""
    closest: tuple[Match, ...]
    """The ten closest pairs, to be listened to."""


def memorisation(
    generated: Recordings, held_out: Recordings, training: Recordings, *, sample_rate_hz: int, seed: int, resamples: int = 200
) -> tuple[Memorisation, ...]:
    """One verdict for each ear; compare clips of one class, all at `sample_rate_hz`. `seed` draws the interval's resamples.

    `held_out` are real clips that were not trained on. Raises UserError where a side is empty, its waves and means do not
    belong together, or holds numbers that are not finite.
    """
    for name, side in (("generated", generated), ("held-out", held_out), ("training", training)):
        _check(name, side)
    weights = draws(len(generated.waves), resamples, seed)
    return tuple(
        judged(ear, found, expected, weights)
        for (ear, found), (_, expected) in zip(
            _listened(generated, training, sample_rate_hz), _listened(held_out, training, sample_rate_hz), strict=True
        )
    )


def judged(ear: str, generated: Nearest, held_out: Nearest, weights: Floats) -> Memorisation:
    """The verdict from the nearest training clips of generated and of held-out clips; `weights` are those of `draws`."""
    threshold = float(np.percentile(held_out.distance, PERCENTILE))
    is_closer = generated.distance < threshold
    order = np.argsort(generated.distance, kind="stable")[:NUM_LISTED]
    return Memorisation(
        ear=ear,
        threshold=threshold,
        closer_share=measured_share(lambda rows: rows @ is_closer / rows.sum(axis=1), weights),
        closer=tuple(map(int, np.flatnonzero(is_closer))),
        closest=tuple(
            Match(generated=int(place), training=int(generated.place[place]), distance=float(generated.distance[place]))
            for place in order
        ),
    )


def _listened(queries: Recordings, training: Recordings, sample_rate_hz: int) -> Iterator[tuple[str, Nearest]]:
    yield "embedding", nearest_in_embedding(queries.means, training.means)
    by_mel, by_wave = nearest_in_sound(queries.waves, training.waves, sample_rate_hz)
    yield "mel", by_mel
    yield "wave", by_wave


def _check(name: str, side: Recordings) -> None:
    if len(side.waves) == 0 or len(side.waves) != len(side.means):
        found = f"{len(side.waves)} {name} waves and {len(side.means)} embeddings"
        raise UserError(f"{found}; expected as many of both, and one at least")
    if side.waves.shape[1] < SHORTEST:
        raise UserError(f"{name} waves are {side.waves.shape[1]} samples long; expected {SHORTEST} at least")
    if not (np.isfinite(side.means).all() and all(np.isfinite(wave).all() for wave in side.waves)):
        raise UserError(f"{name} clips hold numbers that are not finite; leave broken clips out")
