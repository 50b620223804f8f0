"""One set of sounds measured against another, in plain data: what `foleyray evaluate` prints, and keeps as JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from foleyray import __version__
from foleyray.checkpoint import source_commit
from foleyray.config import Config, UserError, explain, fingerprint
from foleyray.corpus.store import open_store
from foleyray.evaluation.copies import Copies, find_copies
from foleyray.evaluation.embedding import Embedded, Listening, embed_place, reference_of
from foleyray.evaluation.places import Place, find_place
from foleyray.evaluation.prompts import clap_scores
from foleyray.metrics.embedder import EmbedderCard, name_and_recipe
from foleyray.metrics.extrapolation import Extrapolation, fad_infinity
from foleyray.metrics.intervals import Measured
from foleyray.metrics.official import PICKLE
from foleyray.metrics.papers import check_terms
from foleyray.metrics.reference import ReferenceClass, load_reference
from foleyray.metrics.scores import ClassScore, mean_fad, score
from foleyray.metrics.signal import Signals
from foleyray.progress import Progress

MOST_OFFSET = 0.01
"""Of full scale: a mean sample farther from zero is heard as a click at both ends of a clip."""
LEAST_DBFS = -120.0
"""Stands for digital silence, whose level has no end."""


class Waves(Config):
    """What the generated waves of a class are, whatever they sound like: medians by clip, and how many are offset."""

    loudness_dbfs: float
    silent_share: float
    rolloff_hz: float
    num_offset: int

    @classmethod
    def of(cls, found: Signals) -> "Waves":
        return cls(
            loudness_dbfs=float(np.median(np.maximum(found.loudness_dbfs, LEAST_DBFS))),
            silent_share=float(np.median(found.silent_share)),
            rolloff_hz=float(np.median(found.rolloff_hz)),
            num_offset=int((np.abs(found.dc) > MOST_OFFSET).sum()),
        )


class Evaluation(Config):
    """The scores of a set of sounds. Two of them compare where `terms` are equal."""

    generated: str
    reference: str
    reference_id: str
    """8 hex digits of the reference's statistics."""
    embedder: EmbedderCard
    reference_embedder: EmbedderCard
    """Differs from `embedder` in the weights' name only, where the reference came as the challenge's statistics."""
    scores: dict[str, ClassScore]
    infinities: dict[str, Extrapolation]
    """Class -> FAD at infinitely many clips, or why it cannot be told."""
    clap_scores: dict[str, Measured]
    """Class -> mean cosine of its clips to the name of their class; empty unless clap listens."""
    copies: dict[str, Copies] | None
    """Class -> what lies too near to training clips; None where no training store was named."""
    waves: dict[str, Waves]
    warnings: tuple[str, ...]
    seed: int
    version: str = __version__
    commit: str
    date: str

    @property
    def mean(self) -> float:
        return mean_fad(self.scores)

    @property
    def terms(self) -> dict[str, object]:
        """What has to be equal for two evaluations to compare, by name."""
        return {
            "embedder": str(self.embedder),
            "reference": self.reference_id,
            "classes": sorted(self.scores),
            "generated clips": {name: found.num_clips for name, found in sorted(self.scores.items())},
        }


@dataclass(frozen=True)
class Sides:
    """Where everything comes from: `training` is a store, whose training clips the generated ones may have copied."""

    generated: str
    reference: str
    training: Path | None = None


def evaluate(sides: Sides, listening: Listening, *, seed: int, progress: Progress) -> Evaluation:
    """Listens to both sides and scores every class.

    The reference is a folder, a store, a split of one, or a statistics file. Raises UserError where sides do not compare.
    """
    place = find_place(sides.generated)
    reference = read_reference(sides.reference, listening, progress)
    embedded = embed_place(place, listening, progress)
    scores = score(embedded.classes, reference, seed=seed)
    waves = {name: Waves.of(found) for name, found in embedded.signals.items()}
    copies = None
    if sides.training is not None:
        copies = find_copies(place, embedded.classes, open_store(sides.training), listening, seed=seed, progress=progress)
    return Evaluation(
        generated=sides.generated,
        reference=sides.reference,
        reference_id=_id(reference),
        embedder=next(iter(embedded.classes.values())).embedder,
        reference_embedder=next(iter(reference.values())).embedder,
        scores=scores,
        infinities={name: fad_infinity(clips, reference[name].moments, seed=seed) for name, clips in embedded.classes.items()},
        clap_scores=clap_scores(embedded.classes, listening, seed=seed),
        copies=copies,
        waves=waves,
        warnings=tuple(_warnings(place, embedded, scores, waves)),
        seed=seed,
        commit=source_commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _id(reference: Mapping[str, ReferenceClass]) -> str:
    """Of counts and means: the order in which processes merged rows shows in the last digits only."""
    known = {name: [part.moments.count, *part.moments.mean.round(4).tolist()] for name, part in sorted(reference.items())}
    return fingerprint(known)


def read_reference(name: str, listening: Listening, progress: Progress) -> dict[str, ReferenceClass]:
    """Statistics from a file, or of a place that is listened to."""
    return load_reference(Path(name)) if _is_statistics(name) else reference_of(find_place(name), listening, progress)


def _is_statistics(name: str) -> bool:
    path = Path(name)
    return path.suffix == ".npz" or (path.is_dir() and any(path.glob(f"*/{PICKLE}")))


def check_papers(sides: Sides, listening: Listening) -> None:
    """Raises UserError where the papers' numbers could not stand beside these sounds, however they came out."""
    card = next(iter(load_reference(Path(sides.reference)).values())).embedder if _is_statistics(sides.reference) else None
    heard_by = ":".join(name_and_recipe(listening.embedder))
    check_terms(dict.fromkeys(find_place(sides.generated).classes, heard_by), card)


def load_evaluation(file: Path) -> Evaluation:
    """What an earlier `foleyray evaluate --json` wrote; raises UserError where it is something else."""
    try:
        return Evaluation.model_validate_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); name a file that foleyray evaluate --json wrote") from None
    except (ValidationError, UnicodeDecodeError) as error:
        why = explain(error, Evaluation) if isinstance(error, ValidationError) else "it is no text"
        raise UserError(f"{file} is not what foleyray evaluate --json writes: {why}") from None


def check_alike(one: Evaluation, other: Evaluation) -> None:
    """Raises UserError where the numbers of two evaluations do not compare, naming what differs."""
    for term, value in one.terms.items():
        if other.terms[term] != value:
            raise UserError(
                f"{one.generated} and {other.generated} do not compare, their {term} differ: {_short(value)} and "
                f"{_short(other.terms[term])}; evaluate both in the same way"
            )


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        counts = sorted(set(value.values()))
        return " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return ", ".join(value) if isinstance(value, list) else str(value)


def _warnings(place: Place, embedded: Embedded, scores: Mapping[str, ClassScore], waves: Mapping[str, Waves]) -> Iterator[str]:
    """What holds for the table as a whole, and what was done to files on reading."""
    for name, count in embedded.refitted.items():
        if count:
            clip = f"{place.clip.seconds:g} s at {place.clip.sample_rate_hz:,} Hz"
            yield f"{name}: {count} of {scores[name].num_clips} generated files were resampled, cut or padded to {clip}"
    for name, found in scores.items():
        yield from (f"{name}: {warning}" for warning in found.warnings)
        if count := waves[name].num_offset:
            yield f"{name}: {count} of {found.num_clips} generated clips are offset by over {MOST_OFFSET:.0%} of full scale"
    counts = sorted({found.num_clips for found in scores.values()})
    if len(counts) > 1:
        yield f"classes have {counts[0]} to {counts[-1]} generated clips: their distances are biased unlike, and so is the mean"
