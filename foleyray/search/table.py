"""The trials of a system as the table that papers print: classes in rows, checkpoints and sampling parameters in columns.

<out>/results-<system>.csv    the same for other programs
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foleyray.corpus.store import read_lines
from foleyray.files import write_whole

MOST_COLUMNS = 8
ENSEMBLE = "ensemble"
Row = Mapping[str, Any]
"""A line of trials.jsonl."""


@dataclass(frozen=True)
class Column:
    """One combination of checkpoints and sampling parameters; `fads` are of the classes that tried it with all clips."""

    name: str
    fads: Mapping[str, float]


@dataclass(frozen=True)
class Results:
    """What the best combinations of a system measured in the search, by class, and the best of each class: the ensemble."""

    system: str
    clips: int
    classes: tuple[str, ...]
    columns: tuple[Column, ...]
    best: Mapping[str, float]

    @property
    def all_columns(self) -> tuple[Column, ...]:
        return (*self.columns, Column(ENSEMBLE, self.best))

    def mean(self, column: Column) -> float | None:
        """Over the classes; None where one of them has no distance."""
        return sum(column.fads.values()) / len(self.classes) if len(column.fads) == len(self.classes) else None

    def csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["class", *(column.name for column in self.all_columns)])
        for name in self.classes:
            writer.writerow([name, *(column.fads.get(name, "") for column in self.all_columns)])
        writer.writerow(["mean", *(self.mean(column) for column in self.all_columns)])
        return text.getvalue()


def results_of(search: Path) -> list[Results]:
    """The table of each system in trials.jsonl; none before a search."""
    file = search / "trials.jsonl"
    rows: list[Row] = list(read_lines(file)) if file.exists() else []
    systems = dict.fromkeys(row["system"] for row in rows)
    found = [_results(system, [row for row in rows if row["system"] == system]) for system in systems]
    return [results for results in found if results.columns]


def write_results(search: Path) -> None:
    """Writes the tables beside trials.jsonl, and removes those of systems that are no longer in it."""
    for old in search.glob("results-*.csv"):
        old.unlink()
    for results in results_of(search):
        write_whole(search / f"results-{results.system}.csv", results.csv())


@dataclass
class _Combination:
    checkpoints: Mapping[str, str]
    params: Mapping[str, Any]
    fads: dict[str, float] = field(default_factory=dict)
    wins: int = 0

    @property
    def choices(self) -> dict[str, Any]:
        """What was chosen by name, checkpoints by their step."""
        return {stage: int(id.rpartition("-")[2]) for stage, id in self.checkpoints.items()} | dict(self.params)


def _results(system: str, rows: Sequence[Row]) -> Results:
    """The columns are what won a class, then what all classes tried, the best means first; in the order of their steps."""
    classes = tuple(dict.fromkeys(row["class"] for row in rows))
    found = _combinations(row for row in rows if not row["stopped"] and row["fad"] is not None)
    best: dict[str, float] = {}
    for name in classes:
        if tried := [one for one in found if name in one.fads]:
            winner = min(tried, key=lambda one: one.fads[name])
            winner.wins += 1
            best[name] = winner.fads[name]

    def mean(one: _Combination) -> float:
        return sum(one.fads.values()) / len(classes) if len(one.fads) == len(classes) else math.inf

    shown = sorted((one for one in found if one.wins or math.isfinite(mean(one))), key=lambda one: (-one.wins, mean(one)))
    shown = sorted(shown[:MOST_COLUMNS], key=lambda one: tuple(one.choices.values()))
    varying = [name for name in shown[0].choices if len({one.choices[name] for one in shown}) > 1] if shown else []
    columns = tuple(Column(_words(one.choices, varying), one.fads) for one in shown)
    return Results(system, max(row["clips"] for row in rows), classes, columns, best)


def _combinations(rows: Iterable[Row]) -> list[_Combination]:
    found: dict[tuple[Any, ...], _Combination] = {}
    for row in rows:
        key = (*row["checkpoints"].items(), *row["params"].items())
        one = found.setdefault(key, _Combination(row["checkpoints"], row["params"]))
        one.fads[row["class"]] = row["fad"]
    return list(found.values())


def _words(choices: Mapping[str, Any], varying: Sequence[str]) -> str:
    """Only what tells the columns apart; everything where there is only one."""
    values = {name: choices[name] for name in varying or choices}
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())
