"""The ensemble's folder: copies of the checkpoints first, then the file that names them, then what is no longer named goes.

<out>/ensemble.yaml                              whole or not there
<out>/checkpoints/<stage>/<8 hex>/step-.../      what the winners are made and scored by; nothing that only training needs
<out>/banks/<Class>-<8 hex>.safetensors          what they are scored against, where that is not a text
"""

import filecmp
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from foleyray.checkpoint import Checkpoint
from foleyray.config import UserError
from foleyray.ensemble import Ensemble, Member
from foleyray.files import write_whole
from foleyray.search.banks import FOLDER as BANKS

FOLDER = "checkpoints"
COPIED = ("weights.safetensors", "raw.safetensors", "card.json")


def publish(ensemble: Ensemble, checkpoints: Iterable[Checkpoint], searched: Path, out: Path) -> None:
    """Writes the ensemble, whose members name `checkpoints` below FOLDER and banks as they lie in `searched`, into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    before = _named_in(out)
    for checkpoint in checkpoints:
        _copy(checkpoint, out / FOLDER / checkpoint.id)
    for bank in _banks(_members(ensemble)):
        (out / bank).parent.mkdir(parents=True, exist_ok=True)
        write_whole(out / bank, (searched / bank).read_bytes())
    ensemble.save(out)
    for left_behind in before - _named_in(out):
        if left_behind.startswith(f"{FOLDER}/"):
            shutil.rmtree(out / left_behind, ignore_errors=True)
        elif out.resolve() != searched.resolve():
            (out / left_behind).unlink(missing_ok=True)


def _members(ensemble: Ensemble) -> list[Member]:
    return [member for members in ensemble.classes.values() for member in members]


def _banks(members: Iterable[Member]) -> set[str]:
    selections = [member.selection for member in members if member.selection]
    return {selection.bank.vectors for selection in selections if selection.bank}


def _named_in(out: Path) -> set[str]:
    """Copies and banks of the ensemble that lies there."""
    with suppress(UserError):
        members = _members(Ensemble.load(out))
        folders = {folder for member in members for folder in member.checkpoints.values()}
        folders |= {member.selection.scorer for member in members if member.selection}
        places = folders | _banks(members)
        return {place for place in places if place.startswith((f"{FOLDER}/", f"{BANKS}/"))}
    return set()


def _copy(checkpoint: Checkpoint, target: Path) -> None:
    """Copies a checkpoint as a whole, unless its copy is there already."""
    names = [name for name in COPIED if (checkpoint.path / name).exists()]
    if filecmp.cmpfiles(checkpoint.path, target, names, shallow=False)[0] == names:
        return
    draft = target.with_name(f".{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name in names:
        shutil.copyfile(checkpoint.path / name, draft / name)
    shutil.rmtree(target, ignore_errors=True)
    draft.replace(target)
