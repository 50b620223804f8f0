"""What makes and hears the sounds of a trial: samplers, embedder, scorer and reference embeddings, loaded once and kept.

Knows neither Ray nor Optuna: a trial in a Tune actor, a pool, a promotion and a test use it in the same way.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foleyray.checkpoint import Checkpoint, load
from foleyray.config import UserError
from foleyray.corpus.store import open_store
from foleyray.metrics.distances import frechet, moments
from foleyray.metrics.embedder import Embedder, find
from foleyray.metrics.embeddings import ClipEmbeddings, embed_clips
from foleyray.metrics.reference import ReferenceClass
from foleyray.metrics.scores import ClassScore, score
from foleyray.search.candidates import Candidate
from foleyray.search.config import SearchConfig
from foleyray.search.scoring import cosines, scorer_of, target_of
from foleyray.system import Sampler, System, SystemConfig

if TYPE_CHECKING:  # it brings seconds of imports, which only a scorer needs
    from foleyray.modules.clap import Clap

Params = Mapping[str, float | int | str]
MOST_SAMPLERS = 8
"""Kept in memory at a time; where several stages vary there are more candidates than fit."""
SECOND = "logmel"
"""Hears the second distance, whatever the search listens with: it needs no weights."""


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
        scorer: "Callable[[int], Clap] | None" = None,
    ) -> None:
        """`sampler(candidate)` loads a sampler, `reference(label)` reads the real clips of a class, int16 (N, T), and
        `scorer(candidate)` opens what scores its sounds."""
        self.sampler, self.embedder, self.batch_size = lru_cache(MOST_SAMPLERS)(sampler), embedder, batch_size
        self.scorer = scorer
        self.reference = cache(lambda label: self._hear_reference(embedder, reference(label), sample_rate_hz))
        self.second_reference = cache(lambda label: self._hear_reference(self.second, reference(label), sample_rate_hz))
        self.target = cache(self._target)

    @cached_property
    def second(self) -> Embedder:
        """The embedder of the second distance; the first one where it is the same."""
        found = find(SECOND, None, "cpu")
        ours = (self.embedder.name, self.embedder.recipe)
        return self.embedder if (found.name, found.recipe) == ours else found

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
        return self.score(label, name, self.embeddings(label, candidate, params, seeds), resample_seed)

    def score(self, label: int, name: str, generated: ClipEmbeddings, resample_seed: int) -> ClassScore:
        return score({name: generated}, {name: self.reference(label)}, seed=resample_seed)[name]

    def distance(self, label: int, generated: ClipEmbeddings) -> float:
        return frechet(moments(generated.rows), self.reference(label).moments)

    def embeddings(self, label: int, candidate: int, params: Params, seeds: Sequence[int]) -> ClipEmbeddings:
        """Makes one clip per seed, in batches, and embeds them; raises NotFinite."""
        rate_hz = self.sampler(candidate).clip.sample_rate_hz
        waves = self.waves(label, candidate, params, seeds)
        return ClipEmbeddings.join([self.hear(self.embedder, batch, rate_hz) for batch in waves])

    def waves(self, label: int, candidate: int, params: Params, seeds: Sequence[int]) -> Iterator[Tensor]:
        """One clip per seed, in batches float32 (B, T); raises NotFinite."""
        sampler = self.sampler(candidate)
        chosen = sampler.params.model_validate(params)
        for begin in range(0, len(seeds), self.batch_size):
            batch = seeds[begin : begin + self.batch_size]
            waves = sampler.sample(torch.full((len(batch),), label), [chosen] * len(batch), batch)
            if not waves.isfinite().all():
                raise NotFinite(
                    f"sounds of {sampler.classes.names[label]} are not finite numbers; train longer and search again"
                )
            yield waves

    def hear(self, embedder: Embedder, waves: Tensor, sample_rate_hz: int) -> ClipEmbeddings:
        return embed_clips(embedder, waves, sample_rate_hz, batch_size=self.batch_size)

    def vectors(self, candidate: int, waves: Tensor) -> NDArray[np.float32]:
        """What the scorer hears in waves (B, T) -> (B, D) of unit length."""
        assert self.scorer is not None
        return self.scorer(candidate).embed_audio(waves, self.sampler(candidate).clip.sample_rate_hz).numpy()

    def likeness(self, label: int, candidate: int, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of vectors (B, D) to the text of a class (B,)."""
        return cosines(vectors, self.target(label, candidate)[None])[:, 0]

    def _target(self, label: int, candidate: int) -> NDArray[np.float32]:
        assert self.scorer is not None
        return target_of(self.sampler(candidate), self.scorer(candidate), label)

    def _hear_reference(self, embedder: Embedder, waves: NDArray[np.int16], sample_rate_hz: int) -> ReferenceClass:
        return ReferenceClass.of(embed_clips(embedder, waves, sample_rate_hz, batch_size=self.batch_size))


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
    scorer: Checkpoint | None = None
    """None where nothing is scored."""

    def __call__(self) -> Evaluator:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        store = open_store(self.store)

        @cache
        def opened(path: Path) -> "Clap":
            from foleyray.modules.clap import open_clap

            return open_clap(load(path), device)

        return Evaluator(
            lambda candidate: self.system.sampler(self.config, self.candidates[candidate], device),
            find(self.settings.embedder, self.settings.weights, device),
            lambda label: store.read(self.split, ["wave"], label=label)["wave"],
            store.clip.sample_rate_hz,
            self.settings.batch_size,
            lambda candidate: opened(scorer_of(self.candidates[candidate], self.scorer).path),
        )
