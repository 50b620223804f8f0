"""The judgement of a set of classes in plain data: distances, intervals, diversity, and what must be known beside them.

Printing is the doors' and the report's; the mathematics is in `distances.py`.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from foleyray.config import Config, UserError, nearest
from foleyray.metrics.distances import frechet, frechet_interval, moments
from foleyray.metrics.diversity import diversity
from foleyray.metrics.embeddings import ClipEmbeddings, same_embedder
from foleyray.metrics.likeness import LEAST_CLIPS, Likeness, likeness
from foleyray.metrics.reference import ReferenceClass, check_comparable


class ClassScore(Config):
    """One class of generated clips against the reference clips of its own and of the other classes."""

    name: str
    fad: float
    interval: tuple[float, float]
    """95 %, over other clips of the same generator at the same count."""
    other_fads: dict[str, float]
    """Class -> distance to its reference, for every class but the own one."""
    nearest_class: str
    num_clips: int
    num_reference_clips: int
    num_frames: int
    num_reference_frames: int
    dropped_share: float
    """Share of the generated clips' frames that the recipe left out."""
    num_silent: int
    num_clipped: int
    diversity: float
    """Mean pairwise cosine distance between the generated clips."""
    diversity_ratio: float | None
    """Diversity over the reference's: 1 as various as real clips, 0 one sound again and again; None where statistics of
    the reference came without its clips."""
    likeness: Likeness | None
    """What else is measured clip by clip; None where the reference came without its clips, or there are too few."""
    warnings: tuple[str, ...]
    embedder: str
    recipe: str
    weights_id: str
    note: str

    @property
    def is_nearest(self) -> bool:
        """Nearer to its own class than to any other."""
        return self.nearest_class == self.name

    @property
    def mean_other_fad(self) -> float | None:
        """The mean distance to the other classes; None where there are none."""
        return float(np.mean(list(self.other_fads.values()))) if self.other_fads else None

    def caption(self) -> str:
        """The line below every table of such scores: who listened, and what the numbers compare with."""
        return f"FAD by {self.embedder}:{self.recipe}@{self.weights_id}, 95 % interval by clip; {self.note}"


def score(
    generated: Mapping[str, ClipEmbeddings], reference: Mapping[str, ReferenceClass], *, seed: int, resamples: int = 200
) -> dict[str, ClassScore]:
    """Class name -> score, in the order of `generated`; `seed` and `resamples` are those of the intervals.

    Raises UserError where a class is missing on one side or has fewer than two clips, or embedders differ.
    """
    if generated:
        heard = same_embedder(list(generated.values()))
        for part in reference.values():
            check_comparable(heard, part.embedder)
    _check_side({name: clips.num_clips for name, clips in generated.items()}, "generated", reference, "reference")
    _check_side({name: clips.num_clips for name, clips in reference.items()}, "reference", generated, "generated")
    return {name: _score_class(name, clips, reference, seed, resamples) for name, clips in generated.items()}


def mean_fad(scores: Mapping[str, ClassScore]) -> float:
    """The unweighted mean over classes, as the challenge reports it; pooled classes would hide a collapsed one."""
    return float(np.mean([class_score.fad for class_score in scores.values()]))


def _score_class(
    name: str, clips: ClipEmbeddings, references: Mapping[str, ReferenceClass], seed: int, resamples: int
) -> ClassScore:
    spread, means, reference = moments(clips.rows), clips.means(), references[name]
    fads = {other: frechet(spread, target.moments) for other, target in references.items()}
    own = diversity(means)
    return ClassScore(
        name=name,
        fad=fads[name],
        interval=frechet_interval(clips, reference.moments, resamples=resamples, seed=seed),
        other_fads={other: fad for other, fad in fads.items() if other != name},
        nearest_class=min(fads, key=lambda other: fads[other]),
        num_clips=clips.num_clips,
        num_reference_clips=reference.num_clips,
        num_frames=len(clips.rows),
        num_reference_frames=reference.moments.count,
        dropped_share=clips.dropped_share,
        num_silent=int(clips.silent.sum()),
        num_clipped=int(clips.clipped.sum()),
        diversity=own,
        diversity_ratio=None if reference.means is None else own / _real_diversity(name, reference.means),
        likeness=_likeness(means, reference, seed, resamples),
        warnings=tuple(_warnings(clips, reference)),
        embedder=clips.embedder.name,
        recipe=clips.embedder.recipe,
        weights_id=clips.embedder.weights_id,
        note=clips.embedder.note,
    )


def _real_diversity(name: str, means: NDArray[np.float32]) -> float:
    real = diversity(means)
    if real < 1e-9:
        raise UserError(f"the {len(means)} reference clips of {name} are one and the same sound; give different ones")
    return real


def _likeness(means: NDArray[np.float64], reference: ReferenceClass, seed: int, resamples: int) -> Likeness | None:
    if reference.means is None or min(len(means), len(reference.means)) < LEAST_CLIPS:
        return None
    return likeness(means, reference.means, seed=seed, resamples=resamples)


def _warnings(clips: ClipEmbeddings, reference: ReferenceClass) -> Iterator[str]:
    """What a reader must know of both sides, in plain sentences."""
    dim = reference.moments.mean.size
    yield from _side("generated", clips.num_clips, len(clips.rows), dim, int(clips.silent.sum()), int(clips.clipped.sum()))
    counts = (reference.num_silent or 0, reference.num_clipped or 0)
    yield from _side("reference", reference.num_clips, reference.moments.count, dim, *counts)
    if (fewest := min(clips.num_clips, reference.num_clips)) < LEAST_CLIPS:
        yield f"{fewest} clips are too few for KAD, precision and coverage: {LEAST_CLIPS} a side are needed"


def _side(side: str, num_clips: int, num_rows: int, dim: int, num_silent: int, num_clipped: int) -> Iterator[str]:
    if num_rows <= dim:
        yield f"{num_rows} {side} frames for {dim} dimensions: FAD is biased upwards, compare it at equal counts only"
    for fault, count in (("silent", num_silent), ("clipped", num_clipped)):
        if count:
            yield f"{count} of {num_clips} {side} clips are {fault}"


def _check_side(here: Mapping[str, int], side: str, there: Mapping[str, object], other_side: str) -> None:
    """`here`: class -> number of clips."""
    if not here:
        raise UserError(f"no {side} clips to score: give at least one class")
    for name, num_clips in here.items():
        if name not in there:
            near = nearest(name, there)
            raise UserError(f"class {name} has {side} clips but no {other_side} ones{near}; both sides need every class")
        if num_clips < 2:
            raise UserError(f"class {name} has one {side} clip; a distance needs two at least, better fifty")
