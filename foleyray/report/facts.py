"""What a run folder says of itself: command, timings, trials, logged losses. A part that is missing reads as empty."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import AUDIO, IMAGES, SCALARS, TENSORS, EventAccumulator

from foleyray.corpus.store import read_lines

MOST_POINTS = 120
"""Points of a curve; more are averaged together."""


@dataclass(frozen=True)
class Trial:
    """One trial of the search of a class and system; `fad` is NaN where its sounds had no distance."""

    system: str
    number: int
    fad: float
    is_stopped: bool


@dataclass(frozen=True)
class Curve:
    """One logged scalar."""

    name: str
    steps: list[float]
    values: list[float]


@dataclass(frozen=True)
class Command:
    """The call that made the run, and what it ran on."""

    line: str
    facts: list[tuple[str, str]]


def command(run: Path) -> Command | None:
    """From command.json; None where there is none."""
    document = _read_json(run / "command.json")
    if not document:
        return None
    facts = [(key, str(document[key])) for key in ("started", "machine", "commit") if document.get(key)]
    return Command(shlex.join(document["argv"]), facts + [(key, str(value)) for key, value in document["versions"].items()])


def timings(run: Path) -> dict[str, float]:
    """Phase -> seconds, in the order in which the phases were made, from timings.json; without the report's own."""
    records = _read_json(run / "timings.json").items()
    return {phase: float(_seconds(record)) for phase, record in records if phase != "report"}


def trials(search: Path) -> dict[str, list[Trial]]:
    """Class -> its trials of all systems, a system after the other, as they were asked for, from trials.jsonl."""
    file = search / "trials.jsonl"
    found: dict[str, list[Trial]] = {}
    for row in read_lines(file) if file.exists() else []:
        fad = float("nan") if row["fad"] is None else float(row["fad"])
        found.setdefault(row["class"], []).append(Trial(row["system"], row["trial"], fad, row["stopped"]))
    return {name: sorted(rows, key=lambda trial: (trial.system, trial.number)) for name, rows in found.items()}


def losses(train: Path) -> dict[str, list[Curve]]:
    """Stage -> the curves of what it minimised, from the newest run of each stage."""
    runs = {folder.name: _newest_run(folder) for folder in sorted(train.glob("*")) if folder.is_dir()}
    curves = {stage: _curves(newest) for stage, newest in runs.items() if newest}
    return {stage: found for stage, found in curves.items() if found}


def _newest_run(stage: Path) -> Path | None:
    pointers = sorted(stage.glob("*/last"), key=lambda pointer: pointer.stat().st_mtime)
    return pointers[-1].parent if pointers else None


def _curves(folder: Path) -> list[Curve]:
    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0, AUDIO: 1, IMAGES: 1, TENSORS: 1})
    events.Reload()
    tags = sorted((tag for tag in events.Tags()[SCALARS] if tag.split("/")[-1] == "loss"), key=_validation_last)
    return [_thinned(tag, [(event.step, event.value) for event in events.Scalars(tag)]) for tag in tags]


def _validation_last(tag: str) -> tuple[bool, str]:
    return tag.startswith("validation"), tag


def _thinned(tag: str, points: list[tuple[int, float]]) -> Curve:
    parts = np.array_split(np.asarray(points, dtype=np.float64), min(len(points), MOST_POINTS))
    steps, values = np.stack([part.mean(axis=0) for part in parts]).T.tolist()
    return Curve(tag.rpartition("/")[0] or tag, steps, values)


def _seconds(record: Mapping[str, Any] | float) -> float:
    return record["seconds"] if isinstance(record, Mapping) else record


def _read_json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
