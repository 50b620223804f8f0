"""The judgement of a set of classes in plain data: distances, intervals, diversity, and what must be known beside them.

Printing is the doors' and the report's; the mathematics is in `distances.py`.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from foleyray.config import Config, UserError, nearest
from foleyray.metrics.distances import Moments, diversity, frechet, frechet_interval, moments
from foleyray.metrics.embeddings import ClipEmbeddings, same_embedder


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
    diversity_ratio: float
    """Diversity over the reference's: 1 as various as real clips, 0 one sound again and again."""
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
    generated: Mapping[str, ClipEmbeddings], reference: Mapping[str, ClipEmbeddings], *, seed: int, resamples: int = 100
) -> dict[str, ClassScore]:
    """Class name -> score, in the order of `generated`; `seed` and `resamples` as in `frechet_interval`.

    Raises UserError where a class is missing on one side or has fewer than two clips, or embedders differ.
    """
    _check_side(generated, "generated", reference, "reference")
    _check_side(reference, "reference", generated, "generated")
    same_embedder([*generated.values(), *reference.values()])
    spreads = {name: moments(clips.rows) for name, clips in reference.items()}
    scores = {}
    for name, clips in generated.items():
        interval = frechet_interval(clips, spreads[name], resamples=resamples, seed=seed)
        scores[name] = _score_class(name, clips, reference[name], spreads, interval)
    return scores


def mean_fad(scores: Mapping[str, ClassScore]) -> float:
    """The unweighted mean over classes, as the challenge reports it; pooled classes would hide a collapsed one."""
    return float(np.mean([class_score.fad for class_score in scores.values()]))


def _score_class(
    name: str,
    clips: ClipEmbeddings,
    reference: ClipEmbeddings,
    spreads: Mapping[str, Moments],
    interval: tuple[float, float],
) -> ClassScore:
    spread = moments(clips.rows)
    fads = {other: frechet(spread, target) for other, target in spreads.items()}
    own, real = diversity(clips.means()), diversity(reference.means())
    if real < 1e-9:
        raise UserError(f"the {reference.num_clips} reference clips of {name} are one and the same sound; give different ones")
    return ClassScore(
        name=name,
        fad=fads[name],
        interval=interval,
        other_fads={other: fad for other, fad in fads.items() if other != name},
        nearest_class=min(fads, key=lambda other: fads[other]),
        num_clips=clips.num_clips,
        num_reference_clips=reference.num_clips,
        num_frames=len(clips.rows),
        num_reference_frames=len(reference.rows),
        dropped_share=clips.dropped_share,
        num_silent=int(clips.silent.sum()),
        num_clipped=int(clips.clipped.sum()),
        diversity=own,
        diversity_ratio=own / real,
        warnings=(*_warnings("generated", clips), *_warnings("reference", reference)),
        embedder=clips.embedder.name,
        recipe=clips.embedder.recipe,
        weights_id=clips.embedder.weights_id,
        note=clips.embedder.note,
    )


def _warnings(side: str, clips: ClipEmbeddings) -> Iterator[str]:
    """What a reader must know of one side, in plain sentences."""
    num_rows, dim = clips.rows.shape
    if num_rows <= dim:
        yield f"{num_rows} {side} frames for {dim} dimensions: FAD is biased upwards, compare it at equal counts only"
    for fault, found in (("silent", clips.silent), ("clipped", clips.clipped)):
        if found.any():
            yield f"{found.sum()} of {clips.num_clips} {side} clips are {fault}"


def _check_side(here: Mapping[str, ClipEmbeddings], side: str, there: Mapping[str, ClipEmbeddings], other_side: str) -> None:
    if not here:
        raise UserError(f"no {side} clips to score: give at least one class")
    for name, clips in here.items():
        if name not in there:
            near = nearest(name, there)
            raise UserError(f"class {name} has {side} clips but no {other_side} ones{near}; both sides need every class")
        if clips.num_clips < 2:
            raise UserError(f"class {name} has one {side} clip; a distance needs two at least, better fifty")
