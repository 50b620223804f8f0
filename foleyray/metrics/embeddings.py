"""Embeddings of many clips, and which clip each row came from. What is measured with them lives in `distances.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foleyray.audio.wav import resample, to_float
from foleyray.config import UserError
from foleyray.metrics.embedder import Embedder, EmbedderCard, card
from foleyray.metrics.stats import EmbeddingStats
from foleyray.progress import Progress, Quiet

SILENT_PEAK = 1e-3
"""-60 dBFS: a clip that never rises above it counts as silent."""
FULL_SCALE, CLIPPED_SHARE = 0.999, 1e-3
"""A clip counts as clipped where more than this share of its samples is at full scale; a normalised one has a few there."""
ABSURD_PEAK = 10.0
"""Float waves beyond it are not in [-1, 1] by any mistake of gain; they are integers that were cast."""


@dataclass(frozen=True, eq=False)
class ClipEmbeddings:
    """Kept frames as rows float32 (N, D) in the order of their clips, `clip` int64 (N,) from 0; every clip has a row.

    `dropped` int64, `silent` bool and `clipped` bool (num_clips,) say of each clip how many frames the recipe left out,
    and whether it is silent or clipped.
    """

    rows: NDArray[np.float32]
    clip: NDArray[np.int64]
    dropped: NDArray[np.int64]
    silent: NDArray[np.bool_]
    clipped: NDArray[np.bool_]
    embedder: EmbedderCard

    @property
    def num_clips(self) -> int:
        return len(self.dropped)

    @property
    def dropped_share(self) -> float:
        """Share of all frames that the recipe left out."""
        dropped = int(self.dropped.sum())
        return dropped / (dropped + len(self.rows))

    @property
    def counts(self) -> NDArray[np.int64]:
        """Rows of each clip (num_clips,)."""
        return np.bincount(self.clip, minlength=self.num_clips)

    def means(self) -> NDArray[np.float64]:
        """One vector a clip (num_clips, D)."""
        first = np.searchsorted(self.clip, np.arange(self.num_clips))
        sums = np.add.reduceat(self.rows, first, axis=0, dtype=np.float64)
        return np.asarray(sums / self.counts[:, None])

    def stats(self) -> EmbeddingStats:
        return EmbeddingStats.from_rows(self.rows)

    def take(self, clips: Sequence[int] | NDArray[Any]) -> "ClipEmbeddings":
        """The clips at these places, in this order; one may be taken twice."""
        places = np.asarray(clips, dtype=np.int64)
        first = np.searchsorted(self.clip, np.arange(self.num_clips + 1))
        chosen = [np.arange(first[place], first[place + 1]) for place in places]
        return ClipEmbeddings(
            rows=self.rows[np.concatenate(chosen)],
            clip=np.repeat(np.arange(len(places)), self.counts[places]),
            dropped=self.dropped[places],
            silent=self.silent[places],
            clipped=self.clipped[places],
            embedder=self.embedder,
        )

    @staticmethod
    def join(parts: Sequence["ClipEmbeddings"]) -> "ClipEmbeddings":
        """The clips of all parts in their order; raises UserError where the parts were not made by one embedder."""
        made_by = same_embedder(parts)
        offsets = np.cumsum([0, *(part.num_clips for part in parts)])
        return ClipEmbeddings(
            rows=np.concatenate([part.rows for part in parts]),
            clip=np.concatenate([part.clip + offset for part, offset in zip(parts, offsets, strict=False)]),
            dropped=np.concatenate([part.dropped for part in parts]),
            silent=np.concatenate([part.silent for part in parts]),
            clipped=np.concatenate([part.clipped for part in parts]),
            embedder=made_by,
        )


def same_embedder(parts: Sequence[ClipEmbeddings]) -> EmbedderCard:
    """The one embedder that made all parts; raises UserError naming them where there are several."""
    cards = {str(part.embedder): part.embedder for part in parts}
    if len(cards) > 1:
        raise UserError(f"embeddings of {' and '.join(cards)} do not compare; embed all of them with one embedder and recipe")
    return next(iter(cards.values()))


def embed_clips(
    embedder: Embedder,
    waves: NDArray[Any] | Tensor,
    sample_rate_hz: int,
    *,
    batch_size: int = 32,
    progress: Progress = Quiet(),
) -> ClipEmbeddings:
    """waves (B, T) int16, or float32 in [-1, 1], at `sample_rate_hz` -> their embeddings, batch by batch.

    Raises UserError where there are no clips, or a wave is of another type, not finite or far beyond [-1, 1].
    """
    if len(waves) == 0:
        raise UserError("no clips to embed: give at least one")
    parts = []
    with progress.begin(f"listening ({embedder.name})", len(waves), "clips") as task:
        for start in range(0, len(waves), batch_size):
            batch = _checked(np.asarray(waves[start : start + batch_size]), start)
            parts.append(_embed(embedder, batch, sample_rate_hz))
            task.advance(len(batch))
    return ClipEmbeddings.join(parts)


def _checked(batch: NDArray[Any], start: int) -> NDArray[np.float32]:
    """A batch (B, T) that begins at clip `start`, as float32."""
    if batch.dtype == np.int16 and batch.ndim == 2:
        return to_float(batch)
    if batch.dtype != np.float32 or batch.ndim != 2:
        raise UserError(f"waves are {batch.dtype} {list(batch.shape)}; int16 or float32 of shape (clips, samples) is expected")
    peaks = np.abs(batch).max(axis=1)
    if not np.isfinite(peaks).all():
        bad = start + int(np.flatnonzero(~np.isfinite(peaks))[0])
        raise UserError(f"clip {bad} holds samples that are not finite; mend or remove it, a distance would be meaningless")
    if peaks.max() > ABSURD_PEAK:
        bad = start + int(peaks.argmax())
        raise UserError(
            f"clip {bad} peaks at {peaks.max():g}; float waves in [-1, 1] are expected: divide 16-bit samples by 32768"
        )
    return batch


def _embed(embedder: Embedder, batch: NDArray[np.float32], sample_rate_hz: int) -> ClipEmbeddings:
    loudness = np.abs(batch)
    wave = resample(torch.from_numpy(np.array(batch)), sample_rate_hz, embedder.sample_rate_hz)
    heard = embedder.embed(wave)
    kept = heard.kept.cpu().numpy()
    return ClipEmbeddings(
        rows=heard.frames[heard.kept].cpu().numpy().astype(np.float32, copy=False),
        clip=np.nonzero(kept)[0].astype(np.int64),
        dropped=(~kept).sum(axis=1).astype(np.int64),
        silent=loudness.max(axis=1) < SILENT_PEAK,
        clipped=(loudness >= FULL_SCALE).mean(axis=1) > CLIPPED_SHARE,
        embedder=card(embedder),
    )
