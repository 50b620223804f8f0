"""Contenders measured again on fresh seeds: their sounds, selected as serving selects them, and what two embedders hear."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor

from foleyray.ensemble import Second
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.intervals import draws, measured
from foleyray.metrics.kernel import kad
from foleyray.metrics.pairs import pairs
from foleyray.metrics.reference import ReferenceClass
from foleyray.metrics.scores import ClassScore
from foleyray.search.config import SearchConfig
from foleyray.search.evaluator import Evaluator, Params
from foleyray.search.selecting import select
from foleyray.selection import Pick, Selection

RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class Heard:
    """Sounds by both embedders; `picks` is empty where they were not selected."""

    first: ClipEmbeddings
    second: ClipEmbeddings
    picks: tuple[Pick, ...] = ()

    def take(self, clips: Sequence[int]) -> "Heard":
        """The clips at these places, without their picks."""
        return Heard(self.first.take(clips), self.second.take(clips))

    @staticmethod
    def join(parts: Sequence["Heard"]) -> "Heard":
        picks = tuple(pick for part in parts for pick in part.picks)
        first, second = (ClipEmbeddings.join([getattr(part, ear) for part in parts]) for ear in ("first", "second"))
        return Heard(first, second, picks)


@dataclass(frozen=True)
class Judged:
    """What some sounds scored; both shares are None where they were not selected."""

    score: ClassScore
    second: Second
    acceptance_rate: float | None
    made_per_sound: float | None


@dataclass(frozen=True)
class Point:
    """What makes sounds: `bank` is the file with the vectors of the selection's bank. `kept`: what is heard is handed back."""

    candidate: int
    params: Params
    selection: Selection | None = None
    bank: Path | None = None
    kept: bool = False


def hear(evaluator: Evaluator, label: int, point: Point, seeds: Sequence[int]) -> Heard:
    """One sound per seed; raises NotFinite."""
    rate_hz, parts = evaluator.sampler(point.candidate).clip.sample_rate_hz, []
    for waves, picks in _sounds(evaluator, label, point, seeds):
        first = evaluator.hear(evaluator.embedder, waves, rate_hz)
        second = first if evaluator.second is evaluator.embedder else evaluator.hear(evaluator.second, waves, rate_hz)
        parts.append(Heard(first, second, tuple(picks)))
    return Heard.join(parts)


def _sounds(evaluator: Evaluator, label: int, point: Point, seeds: Sequence[int]) -> Iterator[tuple[Tensor, list[Pick]]]:
    parts = (label, point.candidate, point.params, seeds)
    if point.selection is None:
        yield from ((waves, []) for waves in evaluator.waves(*parts))
    else:
        yield from select(evaluator, *parts, point.selection, load_file(point.bank)["vectors"] if point.bank else None)


def judge(evaluator: Evaluator, label: int, name: str, heard: Heard, seed: int) -> Judged:
    """Against the class's reference clips; `seed` is that of the intervals."""
    reference = evaluator.reference(label)
    second = reference if heard.second.embedder == heard.first.embedder else evaluator.second_reference(label)
    picks = heard.picks
    return Judged(
        score=evaluator.score(label, name, heard.first, seed),
        second=_second(heard.second, second, seed),
        acceptance_rate=float(np.mean([pick.accepted for pick in picks])) if picks else None,
        made_per_sound=float(np.mean([pick.made for pick in picks])) if picks else None,
    )


def _second(clips: ClipEmbeddings, reference: ReferenceClass, seed: int) -> Second:
    assert reference.means is not None
    apart = pairs(clips.means(), reference.means.astype(np.float64))

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return kad(apart, weights)

    found = measured(statistic, draws(clips.num_clips, RESAMPLES, seed))
    return Second(embedder=clips.embedder.name, recipe=clips.embedder.recipe, value=found.value, interval=found.interval)


@dataclass(frozen=True)
class Job:
    """The points of one class and one system."""

    label: int
    name: str
    points: Sequence[Point]
    settings: SearchConfig

    def run(self, evaluator: Evaluator) -> list[tuple[Judged, Heard | None]]:
        seeds, found = self.settings.clip_seeds("promotion"), []
        for point in self.points:
            heard = hear(evaluator, self.label, point, seeds)
            found.append((judge(evaluator, self.label, self.name, heard, self.settings.seed), heard if point.kept else None))
        return found


@dataclass(frozen=True)
class Rejudge:
    """Sounds of a class that were heard already, put together in another way."""

    label: int
    name: str
    heard: Heard
    seed: int

    def run(self, evaluator: Evaluator) -> Judged:
        return judge(evaluator, self.label, self.name, self.heard, self.seed)
