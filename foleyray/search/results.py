"""What a search leaves behind for others to read: a line for every trial, and a file for the winner of each class.

<out>/trials.jsonl            every trial that is over, of all systems
<out>/<class>/result.json     the best one and its rivals, once the searches of all systems are at their end
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foleyray.clips import ClassList
from foleyray.config import Config, UserError, explain
from foleyray.files import write_whole
from foleyray.search.candidates import Candidates, ids
from foleyray.search.study import ClassStudy, Tried


@dataclass(frozen=True)
class Searched:
    """The studies of one system, a class each, and the name they share. `embedder` is name and recipe, `logmel:active`."""

    system: str
    name: str
    embedder: str
    candidates: Candidates
    studies: Sequence[ClassStudy]

    def contenders(self, class_name: str) -> "list[Contender]":
        """The trials of a class that made all their clips and have a distance, at different points, the best first."""
        (study,) = (study for study in self.studies if study.name == class_name)
        return [self._contender(trial) for trial in study.ranked() if math.isfinite(trial.fad)]

    def _contender(self, trial: Tried) -> "Contender":
        checkpoints = ids(self.candidates[trial.point.candidate])
        return Contender(
            system=self.system, checkpoints=checkpoints, params=trial.point.params, fad=trial.fad, trial=trial.number
        )


class Contender(Config):
    """A trial that made all its clips. `checkpoints` holds an id per stage."""

    system: str
    checkpoints: dict[str, str]
    params: dict[str, float | int | str]
    fad: float
    trial: int


class Winner(Contender):
    """The best trial of a class, over all systems."""

    class_name: str
    studies: dict[str, str]
    """System -> the name of its search, of all systems that took part."""
    embedder: str
    """Name and recipe of what the search listened with, as in `logmel:active`."""
    clips: int
    trials: int
    """Of all systems."""
    rivals: tuple[Contender, ...] = ()
    """The next best at another point, whichever system it is of; after it the best of every other system, the best first."""


def winner_of(class_name: str, searched: Sequence[Searched]) -> Winner:
    """The smallest distance to the reference clips wins; raises UserError where no trial of any system has one."""
    by_system = [each.contenders(class_name) for each in searched]
    ranked = sorted((one for contenders in by_system for one in contenders), key=lambda one: one.fad)
    studies = [study for each in searched for study in each.studies if study.name == class_name]
    trials = sum(len(study.tried()) for study in studies)
    if not ranked:
        raise UserError(
            f"none of the {trials} trials of {class_name} made sounds that have a distance: the waves are not finite; train "
            f"{' and '.join(each.system for each in searched)} again with a lower learning rate"
        )
    best, *others = ranked
    nearest = others[:1]
    heads = (contenders[0] for contenders in by_system if contenders)
    losers = sorted((head for head in heads if head not in (best, *nearest)), key=lambda one: one.fad)
    return Winner(
        **best.model_dump(),
        class_name=class_name,
        studies={each.system: each.name for each in searched},
        embedder=searched[0].embedder,
        clips=studies[0].settings.clips,
        trials=trials,
        rivals=(*nearest, *losers),
    )


def write_trials(out: Path, searched: Iterable[Searched]) -> None:
    """Writes trials.jsonl from what the studies remember."""
    lines = (_line(each, study, tried) for each in searched for study in each.studies for tried in study.tried())
    write_whole(out / "trials.jsonl", "".join(lines))


def _line(searched: Searched, study: ClassStudy, tried: Tried) -> str:
    """A distance that does not exist, as `Evaluator.climb` says, is null."""
    row: dict[str, Any] = {
        "class": study.name,
        "system": searched.system,
        "trial": tried.number,
        "checkpoints": ids(searched.candidates[tried.point.candidate]),
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


def drop_winners(out: Path, studies: Mapping[str, str]) -> None:
    """Removes the results that were chosen from other studies than these (system -> name): a killed search leaves none.

    The studies stay, so that a winner is chosen again from them when asked.
    """
    for file in out.glob("*/result.json"):
        with suppress(UserError):
            if _read(file).studies == studies:
                continue
        file.unlink()


def read_winners(out: Path, classes: ClassList) -> dict[str, Winner]:
    """Class name -> winner, in class order; raises UserError where the search of a class is not finished."""
    missing = [name for name in classes.names if not (out / name / "result.json").is_file()]
    if missing:
        raise UserError(f"the search in '{out}' has no result for {', '.join(missing)}; run `foleyray search` to its end first")
    winners = {name: _read(out / name / "result.json") for name in classes.names}
    if any(winner.studies != next(iter(winners.values())).studies for winner in winners.values()):
        raise UserError(f"the results in '{out}' come from searches with different settings; run `foleyray search` again")
    return winners


def _read(file: Path) -> Winner:
    try:
        return Winner.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise UserError(f"{file}: {explain(error, Winner)}; run `foleyray search` again") from None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
