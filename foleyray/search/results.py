"""What a search leaves behind for others to read: a line for every trial, and a file for the winner of each class.

<out>/trials.jsonl            every trial that is over
<out>/<class>/result.json     the best one, once the search is at its end
"""

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foleyray.clips import ClassList
from foleyray.config import Config, UserError, explain
from foleyray.files import write_whole
from foleyray.search.candidates import Candidate, ids
from foleyray.search.study import ClassStudy, Tried


class Contender(Config):
    """A trial that made all its clips. `checkpoints` holds an id per stage."""

    checkpoints: dict[str, str]
    params: dict[str, float | int | str]
    fad: float
    trial: int


class Winner(Contender):
    """The best trial of a class. `study` names the search it came from."""

    system: str
    study: str
    embedder: str
    """Name and recipe of what the search listened with, as in `logmel:active`."""
    class_name: str
    clips: int
    trials: int
    runner_up: Contender | None = None
    """The next best at another point; None where no other trial made all its clips."""


def write_trials(out: Path, studies: Iterable[ClassStudy], candidates: Sequence[Candidate]) -> None:
    """Writes trials.jsonl from what the studies remember."""
    write_whole(out / "trials.jsonl", "".join(_line(study, tried, candidates) for study in studies for tried in study.tried()))


def _line(study: ClassStudy, tried: Tried, candidates: Sequence[Candidate]) -> str:
    """A distance that does not exist, as `Evaluator.climb` says, is null."""
    row: dict[str, Any] = {
        "class": study.name,
        "trial": tried.number,
        "checkpoint": list(ids(candidates[tried.point.candidate]).values())[-1],
        "params": tried.point.params,
        "rungs": [[clips, _finite(fad)] for clips, fad in tried.rungs],
        "fad": _finite(tried.fad),
        "clips": tried.clips,
        "stopped": tried.stopped,
        "seconds": round(tried.seconds, 3),
    }
    return json.dumps(row) + "\n"


def write_winner(out: Path, winner: Winner) -> None:
    (out / winner.class_name).mkdir(parents=True, exist_ok=True)
    write_whole(out / winner.class_name / "result.json", winner.model_dump_json(indent=1))


def drop_winners(out: Path, study: str) -> None:
    """Removes the results of other searches in the same place; their studies stay, and write them again when asked."""
    for file in out.glob("*/result.json"):
        with suppress(UserError):
            if _read(file).study == study:
                continue
        file.unlink()


def read_winners(out: Path, classes: ClassList) -> dict[str, Winner]:
    """Class name -> winner, in class order; raises UserError where the search of a class is not finished."""
    missing = [name for name in classes.names if not (out / name / "result.json").is_file()]
    if missing:
        raise UserError(f"the search in '{out}' has no result for {', '.join(missing)}; run `foleyray search` to its end first")
    winners = {name: _read(out / name / "result.json") for name in classes.names}
    if len({winner.study for winner in winners.values()}) != 1:
        raise UserError(f"the results in '{out}' come from searches with different settings; run `foleyray search` again")
    return winners


def _read(file: Path) -> Winner:
    try:
        return Winner.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise UserError(f"{file}: {explain(error, Winner)}; run `foleyray search` again") from None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
