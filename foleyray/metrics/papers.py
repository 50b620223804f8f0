"""What the papers of the challenge print (`papers.csv`), and when it may stand beside a result of ours: only where both
were measured alike. Values are as printed; class names are ours.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.metrics import official
from foleyray.metrics.embedder import EmbedderCard
from foleyray.metrics.scores import ClassScore

MEAN = "average"


@dataclass(frozen=True)
class Printed:
    """One system or variant of a paper: a value for each class that is printed, and their mean."""

    paper: str
    table: str
    system: str
    variant: str
    values: dict[str, float]
    mean: float | None
    """As printed, else of the seven classes; None where the paper gives neither."""
    num_clips: int | None
    """Clips a class; None where the paper does not say."""
    note: str


def printed(metric: str) -> list[Printed]:
    """Everything that is printed of a metric, such as `fad` or `was`, by paper, system and variant in the papers' order."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in _rows():
        if row["metric"] == metric:
            groups.setdefault((row["paper"], row["system"], row["variant"]), []).append(row)
    return [_gather(rows) for rows in groups.values()]


def beside(scores: Mapping[str, ClassScore], reference: EmbedderCard) -> list[Printed]:
    """The printed FADs that compare with `scores` (by class), which were measured against the reference of that card.

    Raises UserError unless the scores are the challenge's own: vggish:t7, the published reference, all seven classes and 100
    clips of each. Left out are values of other counts and tables that repeat another one of their paper.
    """
    _check_alike(scores, reference)
    kept: list[Printed] = []
    for row in printed("fad"):
        repeated = any((row.paper, row.system, row.values, row.mean) == (k.paper, k.system, k.values, k.mean) for k in kept)
        if row.num_clips in (None, official.NUM_CLIPS) and not repeated:
            kept.append(row)
    return kept


def check_terms(heard_by: Mapping[str, str], reference: EmbedderCard | None) -> None:
    """What can be refused before anything is listened to: raises UserError unless all seven classes are heard as in the papers.

    `heard_by`: class -> `name:recipe`. `reference` is the card of a statistics file, None where it is of other sounds.
    """
    missing = [name for name in DCASE7.names if name not in heard_by]
    if missing:
        raise UserError(f"the papers' FAD is of seven classes, {', '.join(missing)} not scored; score all of them")
    expected = f"{official.CARD.name}:{official.CARD.recipe}"
    for name in DCASE7.names:
        if heard_by[name] != expected:
            raise UserError(
                f"{name} was heard by {heard_by[name]}, the papers' FAD is by {expected}; values of different embedders do not "
                f"compare, so score with {expected}"
            )
    if str(reference) != str(official.CARD):
        raise UserError(
            f"the reference is of {reference or 'other sounds'}, the papers' FAD is to the challenge's own evaluation set; "
            "give its published statistics as the reference"
        )


def _check_alike(scores: Mapping[str, ClassScore], reference: EmbedderCard) -> None:
    check_terms({name: f"{score.embedder}:{score.recipe}" for name, score in scores.items()}, reference)
    for name in DCASE7.names:
        if scores[name].num_clips != official.NUM_CLIPS:
            raise UserError(
                f"{name} has {scores[name].num_clips} clips, the papers' FAD is of {official.NUM_CLIPS} a class and is biased "
                f"by the count; generate {official.NUM_CLIPS}"
            )


@cache
def _rows() -> tuple[dict[str, str], ...]:
    lines = (files("foleyray.metrics") / "papers.csv").read_text(encoding="utf-8").splitlines()
    return tuple(csv.DictReader(lines))


def _gather(rows: list[dict[str, str]]) -> Printed:
    """Rows of one paper, system and variant, which may be printed in more than one table."""
    values = {row["class"]: float(row["value"]) for row in rows}
    own = {name: values[name] for name in DCASE7.names if name in values}
    computed = float(np.mean(list(own.values()))) if len(own) == len(DCASE7.names) else None
    counts = {int(row["n_clips"]) for row in rows if row["n_clips"]}
    assert len(counts) <= 1, f"papers.csv gives {counts} clips for one variant"
    return Printed(
        paper=rows[0]["paper"],
        table=", ".join(_unlike(rows, "table")),
        system=rows[0]["system"],
        variant=rows[0]["variant"],
        values=own,
        mean=values.get(MEAN, computed),
        num_clips=min(counts, default=None),
        note="; ".join(_unlike(rows, "note")),
    )


def _unlike(rows: list[dict[str, str]], column: str) -> Iterator[str]:
    return (text for text in dict.fromkeys(row[column] for row in rows) if text)
