"""The tables of distances, of classes against one another and of systems, as rows that the template writes down."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch.nn.functional import normalize

from foleyray.ensemble import MIXTURE, Ensemble, Evidence, Member, Standing
from foleyray.generation import EnsembleSampler
from foleyray.report.figures import STRONGEST, LogScale, warmth
from foleyray.report.scores import Anchors, ClassAnchors
from foleyray.system import HasClassVectors

KINDS = {
    "generated": ("made", "Generated"),
    "real": ("real", "Real recordings"),
    "untrained": ("untrained", "Untrained generator"),
    "noise": ("noise", "White noise"),
}
"""What is measured -> its mark on the page and its words."""


@dataclass(frozen=True)
class Cell:
    """Generated sounds of one class against the recordings of another, or of its own."""

    fad: float
    warmth: int
    is_own: bool
    is_nearest: bool


@dataclass(frozen=True)
class Row:
    """One class: its distances, their marks with their places on the strip (0 to 1), and its cells."""

    name: str
    found: ClassAnchors
    marks: list[tuple[str, float]]
    cells: list[Cell]


def means(anchors: Anchors) -> list[tuple[str, str, float | None]]:
    """Mark, words and mean over the classes of each kind of sound."""
    kinds = [(mark, words, anchors.mean(kind)) for kind, (mark, words) in KINDS.items()]
    return [*kinds, ("others", "Other classes, mean", anchors.mean_of_others)]


def rows(anchors: Anchors, scale: LogScale) -> list[Row]:
    return [
        Row(name, found, [(mark, scale.at(fad)) for mark, fad in _marks(found)], _cells(anchors, name))
        for name, found in anchors.classes.items()
    ]


def strip(anchors: Anchors) -> LogScale:
    """One scale for the strips of all classes."""
    return LogScale.over(fad for found in anchors.classes.values() for _, fad in _marks(found))


def _marks(found: ClassAnchors) -> list[tuple[str, float]]:
    """Marks and distances; the generated ones last, so that they lie on top."""
    kinds = [(mark, getattr(found, kind)) for kind, (mark, _) in reversed(KINDS.items())]
    others = found.generated.mean_other_fad
    marks = [("others", others)] if others is not None else []
    return marks + [(mark, score.fad) for mark, score in kinds if score is not None]


def _cells(anchors: Anchors, name: str) -> list[Cell]:
    found = anchors.classes[name].generated
    distances = {other: found.fad if other == name else found.other_fads[other] for other in anchors.classes}
    colours, nearest = warmth(distances), min(distances, key=distances.__getitem__)
    return [Cell(fad, colours[other], other == name, other == nearest) for other, fad in distances.items()]


@dataclass(frozen=True)
class Kinship:
    """How alike the classes are to a net: cosines of its class vectors with their warmth, each row up to the diagonal."""

    system: str
    checkpoint: str
    rows: list[tuple[str, list[tuple[float, int]]]]


def kinships(generator: EnsembleSampler) -> list[Kinship]:
    """One for each system of the ensemble that has class vectors, of the checkpoint that makes the earliest class."""
    parts = {part.system.name: part for parts in reversed(generator.roster.parts.values()) for part in reversed(parts)}
    samplers = {name: (part, generator.samplers[part.combination]) for name, part in sorted(parts.items())}
    return [
        Kinship(name, list(part.member.checkpoints.values())[-1].removeprefix("checkpoints/"), _cosines(sampler))
        for name, (part, sampler) in samplers.items()
        if isinstance(sampler, HasClassVectors)
    ]


def _cosines(sampler: HasClassVectors) -> list[tuple[str, list[tuple[float, int]]]]:
    vectors = normalize(sampler.class_vectors(), dim=1)
    cosines = (vectors @ vectors.T).tolist()
    return [
        (name, [(cosine, round(STRONGEST * max(cosine, 0.0))) for cosine in cosines[label][: label + 1]])
        for label, name in enumerate(sampler.classes.names)
    ]


def systems(ensemble: Ensemble) -> list[str]:
    """The columns of what is compared, mixtures first; none where the ensemble's search knew one system only."""
    mixtures = [MIXTURE] if ensemble.mixtures else []
    return [*mixtures, *ensemble.systems] if len(ensemble.systems) > 1 else []


def leaderboard(ensemble: Ensemble) -> list[tuple[str, list[Standing | None]]]:
    """A row a class with what the best point of each system measured; None where it has no distance, or no evidence."""
    return [(name, [ensemble.standings(name).get(system) for system in systems(ensemble)]) for name in ensemble.classes]


@dataclass(frozen=True)
class Proof:
    """Who makes a class and how its sounds are chosen, in words, and what that measured when it was promoted."""

    name: str
    makers: list[str]
    evidence: Evidence


def proofs(ensemble: Ensemble) -> list[Proof]:
    """A row a class, of those that have evidence."""
    return [
        Proof(name, [_maker(one, members) for one in members], proof)
        for name, members in ensemble.classes.items()
        if (proof := ensemble.proof(name))
    ]


def _maker(member: Member, members: Sequence[Member]) -> str:
    share = f", {member.share:.0%}" if len(members) > 1 else ""
    chosen = member.way_of_choosing
    return f"{member.system}{share}{f'; {chosen}' if chosen else ''}"
