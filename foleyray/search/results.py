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
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from foleyray.clips import ClassList
from foleyray.config import Config, UserError, explain, fingerprint
from foleyray.ensemble import MIXTURE, Protocol
from foleyray.files import write_whole
from foleyray.search.candidates import Candidates, ids
from foleyray.search.choosing import Picked
from foleyray.search.mixing import Mixture
from foleyray.search.study import ClassStudy, Tried
from foleyray.selection import Selection

if TYPE_CHECKING:
    from foleyray.search.finals import Final


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
        return [self._contender(trial) for trial in self._ranked(class_name)]

    def best_number(self, class_name: str) -> int:
        """The number of the candidate of the best of them."""
        return self._ranked(class_name)[0].point.candidate

    def _ranked(self, class_name: str) -> list[Tried]:
        (study,) = (study for study in self.studies if study.name == class_name)
        return [trial for trial in study.ranked() if math.isfinite(trial.fad)]

    def _contender(self, trial: Tried) -> "Contender":
        checkpoints = ids(self.candidates[trial.point.candidate])
        return Contender(
            system=self.system, checkpoints=checkpoints, params=trial.point.params, fad=trial.fad, trial=trial.number
        )


class Contender(Config):
    """A trial that made all its clips, and how its sounds are chosen. `checkpoints` holds an id per stage."""

    POINT: ClassVar = frozenset({"system", "checkpoints", "params", "selection"})
    """What decides the sounds of a seed."""

    system: str
    checkpoints: dict[str, str]
    params: dict[str, float | int | str]
    selection: Selection | None = None
    """The scorer by its id, the bank by its path below the searched folder."""
    fad: float
    trial: int
    picked: Picked | None = None
    """What the chosen sounds measured in the search; None where none were chosen or mixed."""
    share: float = 1.0


class Winner(Contender):
    """The best trial of a class over all systems; of a mixture, the member with the largest share."""

    class_name: str
    studies: dict[str, str]
    """System -> the name of its search, of all systems that took part."""
    chosen_by: str = ""
    """8 hex digits of what decided after the trials, as `last_round` gives it; empty where nothing did."""
    protocol: Protocol = "clean_selection"
    embedder: str
    """Name and recipe of what the search listened with, as in `logmel:active`."""
    clips: int
    trials: int
    """Of all systems."""
    partners: tuple[Contender, ...] = ()
    """The other members of a mixture, the largest share first."""
    mixture_fad: float | None = None
    rivals: tuple[Contender, ...] = ()
    """Without choosing: the next best at another point, whichever system it is of; after it the best of every other system.
    With it: the best of every other system and the winner's sounds without selection. The best first."""

    @property
    def members(self) -> tuple[Contender, ...]:
        return (self, *self.partners)

    @property
    def mixture(self) -> Contender:
        """All members as one: what tells one mixture from another stands among its checkpoints and parameters."""
        assert self.mixture_fad is not None
        params: dict[str, float | int | str] = {}
        for one in self.members:
            params |= {f"{one.system}.{key}": value for key, value in one.params.items()}
            params |= {f"{one.system}.share": one.share, f"{one.system}.selection": fingerprint(one.selection)}
        checkpoints = {f"{one.system}.{stage}": id for one in self.members for stage, id in one.checkpoints.items()}
        return Contender(system=MIXTURE, checkpoints=checkpoints, params=params, fad=self.mixture_fad, trial=self.trial)


def winner_of(
    class_name: str,
    searched: Sequence[Searched],
    finals: "Mapping[str, Final] | None" = None,
    mixture: Mixture | None = None,
    chosen_by: str = "",
) -> Winner:
    """The smallest distance to the reference clips wins, of trials or, where there was a last round, of its `finals`.

    Raises UserError where no trial of any system has one.
    """
    studies = [study for each in searched for study in each.studies if study.name == class_name]
    trials = sum(len(study.tried()) for study in studies)
    by_system = [each.contenders(class_name) for each in searched]
    if not any(by_system):
        raise UserError(
            f"none of the {trials} trials of {class_name} made sounds that have a distance: the waves are not finite; train "
            f"{' and '.join(each.system for each in searched)} again with a lower learning rate"
        )
    members, rivals = _of_finals(finals, mixture) if finals else _of_trials(by_system)
    settings = studies[0].settings
    return Winner(
        **members[0].model_dump(),
        class_name=class_name,
        studies={each.system: each.name for each in searched},
        chosen_by=chosen_by,
        protocol=settings.protocol,
        embedder=searched[0].embedder,
        clips=settings.num_judged,
        trials=trials,
        partners=members[1:],
        mixture_fad=mixture.fad if mixture and len(members) > 1 else None,
        rivals=rivals,
    )


Outcome = tuple[tuple[Contender, ...], tuple[Contender, ...]]
"""Members and rivals."""


def _of_trials(by_system: Sequence[Sequence[Contender]]) -> Outcome:
    best, *others = _ranked(one for contenders in by_system for one in contenders)
    nearest = others[:1]
    heads = (contenders[0] for contenders in by_system if contenders)
    return (best,), (*nearest, *_ranked(head for head in heads if head not in (best, *nearest)))


def _of_finals(finals: "Mapping[str, Final]", mixture: Mixture | None) -> Outcome:
    """A mixture's members are those with shares, each beside all others alone and the largest without selection."""
    heads = {system: final.contender for system, final in finals.items()}
    alone = {min(heads, key=lambda system: heads[system].fad): 1.0}
    shares = mixture.shares if mixture and len(mixture.shares) > 1 else alone
    largest = sorted(shares, key=lambda system: -shares[system])
    members = tuple(heads[system].model_copy(update={"share": shares[system]}) for system in largest)
    unselected = [finals[largest[0]].unselected] if members[0].selection else []
    return members, tuple(_ranked([*(head for system, head in heads.items() if system not in shares), *unselected]))


def _ranked(contenders: Iterable[Contender]) -> list[Contender]:
    return sorted(contenders, key=lambda one: one.fad)


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


def drop_winners(out: Path, studies: Mapping[str, str], chosen_by: str) -> None:
    """Removes the results that were chosen from other studies than these (system -> name), or in another last round: a killed
    search leaves none.

    The studies stay, so that a winner is chosen again from them when asked.
    """
    for file in out.glob("*/result.json"):
        with suppress(UserError):
            found = _read(file)
            if (found.studies, found.chosen_by) == (studies, chosen_by):
                continue
        file.unlink()


def read_winners(out: Path, classes: ClassList) -> dict[str, Winner]:
    """Class name -> winner, in class order; raises UserError where the search of a class is not finished."""
    missing = [name for name in classes.names if not (out / name / "result.json").is_file()]
    if missing:
        raise UserError(f"the search in '{out}' has no result for {', '.join(missing)}; run `foleyray search` to its end first")
    winners = {name: read_winner(out, name) for name in classes.names}
    if len({(*sorted(winner.studies.items()), winner.chosen_by) for winner in winners.values()}) > 1:
        raise UserError(f"the results in '{out}' come from searches with different settings; run `foleyray search` again")
    return winners


def read_winner(out: Path, name: str) -> Winner:
    """Of one class; raises UserError where there is none, or one that cannot be read."""
    return _read(out / name / "result.json")


def _read(file: Path) -> Winner:
    try:
        return Winner.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no {file}; run `foleyray search` to its end first") from None
    except ValidationError as error:
        raise UserError(f"{file}: {explain(error, Winner)}; run `foleyray search` again") from None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
