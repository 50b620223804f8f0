"""The tables that doors print: counts, scores, and what an ensemble is made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from foleyray.ensemble import Ensemble, Evidence, Member
from foleyray.terminal import console, errors

if TYPE_CHECKING:
    from foleyray.metrics.scores import ClassScore


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> None:
    """A table: the first column on the left, numbers on the right; rows are never wrapped away in a narrow pipe."""
    table = Table(title=title, caption=caption or None, title_justify="left", caption_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    target = console if console.is_terminal else Console(width=160)
    target.print(table, highlight=False, markup=False)


def print_counts(title: str, counts: Mapping[str, Mapping[str, int]], caption: str = "") -> None:
    """Rows of classes, columns of splits, from split -> class -> count."""
    classes = list(next(iter(counts.values())))
    rows: list[list[object]] = [[name, *(counts[split][name] for split in counts)] for name in classes]
    rows.append(["all", *(sum(counts[split].values()) for split in counts)])
    print_table(title, ["class", *counts], rows, caption)


def print_ensemble(folder: Path) -> None:
    """Who makes each class, and what was measured when it was promoted."""
    ensemble = Ensemble.load(folder)
    rows = [[name, *_member(member)] for name, members in ensemble.classes.items() for member in members]
    proof = next(iter(ensemble.classes.values()))[0].evidence
    caption = ""
    if proof:
        caption = f"FAD to held_out by {proof.embedder}:{proof.recipe}, 95 % interval by clip; tie: it overlaps the runner-up's"
    columns = ["class", "system", "checkpoint", "params", "FAD", "interval", "runner-up", "clips", "reference"]
    print_table(str(folder / "ensemble.yaml"), columns, rows, caption)


def _member(member: Member) -> list[object]:
    params = (f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in member.params.items())
    made_by: list[object] = [member.system, list(member.checkpoints.values())[-1].rpartition("/")[2], ", ".join(params)]
    proof = member.evidence
    if proof is None:
        return [*made_by, "", "", "", "", ""]
    measured = [proof.value, _interval(proof.interval), _runner_up(proof)]
    return [*made_by, *measured, proof.num_clips, proof.num_reference_clips]


def _runner_up(proof: Evidence) -> str:
    if proof.runner_up is None:
        return ""
    return f"{proof.runner_up.value:.2f} (tie)" if proof.is_tie else f"{proof.runner_up.value:.2f}"


def print_scores(title: str, scores: "Mapping[str, ClassScore]") -> None:
    """The distance table per class, its mean, and every warning below it."""
    rows: list[list[object]] = [
        [name, s.fad, _interval(s.interval), s.num_clips, s.num_reference_clips, s.nearest_class, _other(s), s.diversity_ratio]
        for name, s in scores.items()
    ]
    rows.append(["mean", sum(s.fad for s in scores.values()) / len(scores), *[""] * 6])
    caption = next(iter(scores.values())).caption()
    columns = ["class", "FAD", "interval", "clips", "reference", "nearest", "mean of others", "diversity"]
    print_table(title, columns, rows, caption)
    for name, s in scores.items():
        for warning in s.warnings:
            errors.print(f"{name}: {warning}", highlight=False, markup=False)


def _other(score: "ClassScore") -> object:
    return "" if score.mean_other_fad is None else score.mean_other_fad


def _interval(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.2f} .. {interval[1]:.2f}"
