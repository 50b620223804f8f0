"""The ensemble's folder: copies of the checkpoints first, then the file that names them, then what is no longer named goes.

<out>/ensemble.yaml                              whole or not there
<out>/checkpoints/<stage>/<8 hex>/step-.../      what the winners are sampled from; nothing that only training needs
"""

import filecmp
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from foleyray.checkpoint import Checkpoint
from foleyray.config import UserError
from foleyray.ensemble import Ensemble

FOLDER = "checkpoints"
COPIED = ("weights.safetensors", "raw.safetensors", "card.json")


def publish(ensemble: Ensemble, checkpoints: Iterable[Checkpoint], out: Path) -> None:
    """Writes the ensemble, whose members name `checkpoints` below FOLDER, into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    before = _copies_named_in(out)
    for checkpoint in checkpoints:
        _copy(checkpoint, out / FOLDER / checkpoint.id)
    ensemble.save(out)
    for folder in before - _copies_named_in(out):
        shutil.rmtree(out / folder, ignore_errors=True)


def _copies_named_in(out: Path) -> set[str]:
    with suppress(UserError):
        members = (member for members in Ensemble.load(out).classes.values() for member in members)
        folders = {folder for member in members for folder in member.checkpoints.values()}
        return {folder for folder in folders if folder.startswith(f"{FOLDER}/")}
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
