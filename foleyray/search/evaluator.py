"""What makes and judges the sounds of a trial: samplers, embedder and reference embeddings, loaded once and kept.

Knows neither Ray nor Optuna: a trial in a Tune actor, a promotion and a test use it in the same way.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from foleyray.config import UserError
from foleyray.corpus.store import open_store
from foleyray.metrics.distances import frechet, moments
from foleyray.metrics.embedder import Embedder, find
from foleyray.metrics.embeddings import ClipEmbeddings, embed_clips
from foleyray.metrics.reference import ReferenceClass
from foleyray.metrics.scores import ClassScore, score
from foleyray.search.candidates import Candidate
from foleyray.search.config import SearchConfig
from foleyray.system import Sampler, System, SystemConfig

Params = Mapping[str, float | int | str]
MOST_SAMPLERS = 8
"""Kept in memory at a time; where several stages vary there are more candidates than fit."""


class NotFinite(UserError):
    """A sampler's waves are not numbers."""


class Evaluator:
    """Measures points of the search; the second measurement loads nothing that the first one loaded."""

    def __init__(
        self,
        sampler: Callable[[int], Sampler],
        embedder: Embedder,
        reference: Callable[[int], NDArray[np.int16]],
        sample_rate_hz: int,
        batch_size: int,
    ) -> None:
        """`sampler(candidate)` loads a sampler, `reference(label)` reads the real clips of a class, int16 (N, T)."""
        self.sampler, self.embedder, self.batch_size = lru_cache(MOST_SAMPLERS)(sampler), embedder, batch_size
        self.reference = cache(
            lambda label: ReferenceClass.of(embed_clips(embedder, reference(label), sample_rate_hz, batch_size=batch_size))
        )

    def climb(
        self, label: int, candidate: int, params: Params, seeds: Sequence[int], rungs: Sequence[int]
    ) -> Iterator[tuple[int, float]]:
        """Yields (clips so far, their Fréchet distance to the class's reference clips) for each of the growing counts.

        Infinite from the first wave on that is not finite: such a point loses, and the search goes on.
        """
        parts: list[ClipEmbeddings] = []
        lost = False
        for begin, end in pairwise((0, *rungs)):
            try:
                parts.append(self.embeddings(label, candidate, params, seeds[begin:end]))
            except NotFinite:
                lost = True
            yield end, math.inf if lost else self.distance(label, ClipEmbeddings.join(parts))

    def measure(self, label: int, candidate: int, params: Params, seeds: Sequence[int], resample_seed: int) -> ClassScore:
        """The whole score of one clip per seed, with its interval and its diversity; raises NotFinite."""
        name = self.sampler(candidate).classes.names[label]
        generated = self.embeddings(label, candidate, params, seeds)
        return score({name: generated}, {name: self.reference(label)}, seed=resample_seed)[name]

    def distance(self, label: int, generated: ClipEmbeddings) -> float:
        return frechet(moments(generated.rows), self.reference(label).moments)

    def embeddings(self, label: int, candidate: int, params: Params, seeds: Sequence[int]) -> ClipEmbeddings:
        """Makes one clip per seed, in batches, and embeds them; raises NotFinite."""
        sampler = self.sampler(candidate)
        chosen = sampler.params.model_validate(params)
        parts = []
        for begin in range(0, len(seeds), self.batch_size):
            batch = seeds[begin : begin + self.batch_size]
            waves = sampler.sample(torch.full((len(batch),), label), [chosen] * len(batch), batch)
            if not waves.isfinite().all():
                raise NotFinite(
                    f"sounds of {sampler.classes.names[label]} are not finite numbers; train longer and search again"
                )
            parts.append(embed_clips(self.embedder, waves, sampler.clip.sample_rate_hz, batch_size=self.batch_size))
        return ClipEmbeddings.join(parts)


@dataclass(frozen=True)
class Maker:
    """Makes the evaluator of trained checkpoints against one split of a store, in any process and on its device.

    It carries places and settings, no weights and no sounds.
    """

    system: System
    config: SystemConfig
    candidates: Sequence[Candidate]
    settings: SearchConfig
    store: Path
    split: str

    def __call__(self) -> Evaluator:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        store = open_store(self.store)
        return Evaluator(
            lambda candidate: self.system.sampler(self.config, self.candidates[candidate], device),
            find(self.settings.embedder, self.settings.weights, device),
            lambda label: store.read(self.split, ["wave"], label=label)["wave"],
            store.clip.sample_rate_hz,
            self.settings.batch_size,
        )
