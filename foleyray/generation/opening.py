"""Opening what can sound: the ensemble behind a path, and its checkpoints, checked before any weight is read."""

from pathlib import Path

from foleyray import checkpoint
from foleyray.checkpoint import Checkpoint
from foleyray.config import UserError
from foleyray.ensemble import Ensemble, Member, ensemble_file
from foleyray.generation.roster import Part, Roster
from foleyray.system import find


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
    member = Member(system=system.name, checkpoints=paths)
    return Ensemble(clip=config.clip, class_list=card.classes, classes=dict.fromkeys(card.classes.names, (member,))), run


def checkpoints_of(roster: Roster, folder: Path) -> dict[tuple[str, ...], dict[str, Checkpoint]]:
    """Combination -> stage -> checkpoint, read below `folder` without weights; raises UserError for what does not belong."""
    parts = {part.combination: part for parts in roster.parts.values() for part in parts}
    return {combination: _checkpoints(part, roster.ensemble, folder) for combination, part in parts.items()}


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
    if card.classes.names != ensemble.class_list.names:
        raise UserError(
            f"{step.path} knows the classes {list(card.classes.names)}, the ensemble {list(ensemble.class_list.names)}; "
            "all members must be trained on the ensemble's classes, in the same order"
        )
    if card.system is None:
        return
    clip = system.config.parse(card.config, f"card of {step.path}").clip
    if clip != ensemble.clip:
        raise UserError(
            f"{step.path} makes clips of {clip.seconds:g} s at {clip.sample_rate_hz} Hz, the ensemble holds "
            f"{ensemble.clip.seconds:g} s at {ensemble.clip.sample_rate_hz} Hz; all members must share one clip"
        )


def _load_below(folder: Path, path: str) -> Checkpoint:
    if not (folder / path).resolve().is_relative_to(folder.resolve()):
        raise UserError(f"checkpoint '{path}' lies outside {folder}; copy it below that folder and name it there")
    return checkpoint.load(folder / path)
