"""Opening what can sound: the ensemble behind a path, and what its folder holds, checked before any weight is read."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from foleyray import checkpoint
from foleyray.checkpoint import Checkpoint
from foleyray.config import UserError
from foleyray.ensemble import Ensemble, Member, ensemble_file
from foleyray.generation.banks import read_bank
from foleyray.generation.roster import Part, Roster
from foleyray.selection import Selection
from foleyray.system import find

SCORER = "clap"
"""The stage whose checkpoints score candidates."""


@dataclass(frozen=True)
class Contents:
    """What an ensemble's members are made of, each by what the ensemble calls it."""

    checkpoints: dict[tuple[str, ...], dict[str, Checkpoint]]
    """Combination -> stage -> checkpoint."""
    scorers: dict[str, Checkpoint]
    banks: dict[str, Tensor]


def open_ensemble(path: Path | str) -> tuple[Ensemble, Path]:
    """An ensemble and its folder; a bare checkpoint is read as the ensemble in which it alone answers for every class.

    A checkpoint is the folder of a step of the stage that sounds, or the folder that holds its steps (the newest one then).
    Its sampling parameters have their start values. Raises UserError where `path` is neither.
    """
    path = Path(path)
    if not path.is_dir() or ensemble_file(path).is_file():
        return Ensemble.load(path), ensemble_file(path).parent
    step = checkpoint.load(path) if (path / "card.json").is_file() else checkpoint.last(path)
    if step is None:
        raise UserError(
            f"'{path}' is neither an ensemble (no ensemble.yaml in it) nor a checkpoint (no card.json, no step-... in it); "
            "give a folder such as runs/demo, or one such as runs/demo/train/gan/1a2b3c4d/step-000000800"
        )
    return _of_checkpoint(step)


def _of_checkpoint(step: Checkpoint) -> tuple[Ensemble, Path]:
    place, card = step.path.resolve(), step.card
    if card.system is None:
        raise UserError(
            f"{step.path} is stage '{card.stage}', which makes no sound by itself; give a checkpoint that stands on it"
        )
    system = find(card.system)
    run = place.parents[min(2, len(place.parents) - 1)]  # <run>/<stage>/<8 hex>/step-...
    config = system.config.parse(card.config, f"card of {step.path}")
    final = system.samples_from(config)[-1]
    if card.stage != final:
        raise UserError(
            f"{step.path} is stage '{card.stage}', which makes no sound by itself; give a checkpoint of stage "
            f"'{final}' of {system.name}"
        )
    paths = {**card.sounds_with, card.stage: place.relative_to(run).as_posix()}
    member = Member(system=system.name, checkpoints=paths, takes_prompts=system.takes_prompts(config))
    return Ensemble(clip=config.clip, class_list=card.classes, classes=dict.fromkeys(card.classes.names, (member,))), run


def contents_of(roster: Roster, folder: Path) -> Contents:
    """What lies below `folder` for the roster, without weights; raises UserError for what is missing or does not belong."""
    parts = [part for parts in roster.parts.values() for part in parts]
    alike = {part.combination: part for part in parts}
    contents = Contents({key: _checkpoints(part, roster.ensemble, folder) for key, part in alike.items()}, {}, {})
    for part in parts:
        found = contents.checkpoints[part.combination]
        _takes_prompts(part, found)
        if part.member.selection:
            _add_selection(contents, part.member.selection, roster.ensemble, folder)
            _one_space(part, found, contents.scorers[part.member.selection.scorer])
    return contents


def _checkpoints(part: Part, ensemble: Ensemble, folder: Path) -> dict[str, Checkpoint]:
    found = {stage: _load_below(folder, path) for stage, path in part.member.checkpoints.items()}
    for stage, step in found.items():
        _belongs(step, stage, part, ensemble)
    return found


def _belongs(step: Checkpoint, stage: str, part: Part, ensemble: Ensemble) -> None:
    card, system = step.card, part.system
    if card.system not in (system.name, None) or card.stage != stage:
        raise UserError(
            f"{step.path} is stage '{card.stage}' of {card.system or 'any system'}, but the ensemble names it as stage "
            f"'{stage}' of {system.name}; promote the ensemble again"
        )
    _knows_classes(step, ensemble)
    if card.system is None:
        return
    clip = system.config.parse(card.config, f"card of {step.path}").clip
    if clip != ensemble.clip:
        raise UserError(
            f"{step.path} makes clips of {clip.seconds:g} s at {clip.sample_rate_hz} Hz, the ensemble holds "
            f"{ensemble.clip.seconds:g} s at {ensemble.clip.sample_rate_hz} Hz; all members must share one clip"
        )


def _takes_prompts(part: Part, found: dict[str, Checkpoint]) -> None:
    configs = [
        part.system.config.parse(step.card.config, f"card of {step.path}") for step in found.values() if step.card.system
    ]
    if part.member.takes_prompts and not all(part.system.takes_prompts(config) for config in configs):
        raise UserError(
            f"the ensemble says that {' '.join(part.combination)} takes prompts, but it was trained without words; "
            "set takes_prompts to false"
        )


def _add_selection(contents: Contents, selection: Selection, ensemble: Ensemble, folder: Path) -> None:
    if selection.scorer not in contents.scorers:
        contents.scorers[selection.scorer] = _scorer(_load_below(folder, selection.scorer), ensemble)
    bank = selection.bank
    if bank and bank.vectors not in contents.banks:
        contents.banks[bank.vectors] = read_bank(_below(folder, bank.vectors))
    if bank and len(contents.banks[bank.vectors]) != bank.size:
        raise UserError(
            f"bank '{bank.vectors}' has {len(contents.banks[bank.vectors])} vectors, the ensemble says {bank.size}; "
            "promote the ensemble again"
        )


def _scorer(step: Checkpoint, ensemble: Ensemble) -> Checkpoint:
    if step.card.stage != SCORER:
        raise UserError(
            f"{step.path} is stage '{step.card.stage}', but the ensemble names it as a scorer; "
            f"give a checkpoint of stage '{SCORER}'"
        )
    _knows_classes(step, ensemble)
    return step


def _one_space(part: Part, found: dict[str, Checkpoint], scorer: Checkpoint) -> None:
    """What is made after words is scored against them: both must mean the same space."""
    selection, tower = part.member.selection, found.get(SCORER)
    against_text = part.member.takes_prompts or (selection is not None and selection.bank is None)
    if tower and against_text and tower.id != scorer.id:
        raise UserError(
            f"{part.system.name} reads words with {tower.id}, its sounds are scored by {scorer.id}, and their vectors do not "
            "compare; name one checkpoint for both"
        )


def _knows_classes(step: Checkpoint, ensemble: Ensemble) -> None:
    if step.card.classes.names != ensemble.class_list.names:
        raise UserError(
            f"{step.path} knows the classes {list(step.card.classes.names)}, the ensemble {list(ensemble.class_list.names)}; "
            "all members must be trained on the ensemble's classes, in the same order"
        )


def _load_below(folder: Path, path: str) -> Checkpoint:
    return checkpoint.load(_below(folder, path))


def _below(folder: Path, path: str) -> Path:
    if not (folder / path).resolve().is_relative_to(folder.resolve()):
        raise UserError(f"'{path}' lies outside {folder}; copy it below that folder and name it there")
    return folder / path
