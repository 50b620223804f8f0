"""Checkpoints on disk: weights as safetensors, a card that says what they are, and the state to go on training.

    <run>/<stage>/<8 hex>/step-000000800/weights.safetensors   averaged weights where the stage averages, keys `net.param`
                                         raw.safetensors       the weights as trained, only where averaged ones differ
                                         training.pt           optimizers and random state, only in the newest step
                                         card.json
    <run>/<stage>/<8 hex>/last           text: the name of the newest whole step

A folder appears by renaming a finished one, so a checkpoint is whole or not there.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from foleyray.clips import ClassList
from foleyray.config import Config, UserError, explain


class Card(Config):
    """What a checkpoint is: where it came from, what it was trained on, and what it needs."""

    system: str
    stage: str
    run: str
    step: int
    config: dict[str, Any]
    classes: ClassList
    mel_id: str
    needs: dict[str, str] = {}
    corpus: str
    scores: dict[str, float] = {}
    version: str
    commit: str


@dataclass(frozen=True)
class Checkpoint:
    """One step on disk."""

    path: Path
    card: Card

    @property
    def id(self) -> str:
        """`<stage>/<8 hex>/step-<9 digits>`: the same on every machine."""
        return f"{self.card.stage}/{self.card.run}/{step_name(self.card.step)}"

    def weights(self, averaged: bool = True) -> dict[str, Tensor]:
        """`net.param` -> tensor on the CPU; the averaged weights, or the raw ones (equal where nothing is averaged)."""
        raw = self.path / "raw.safetensors"
        return _read_weights(raw if not averaged and raw.exists() else self.path / "weights.safetensors")

    def restore(self, nets: nn.ModuleDict, averaged: bool = True) -> nn.ModuleDict:
        """Loads the weights into nets of the same build; raises UserError naming what does not fit."""
        try:
            nets.load_state_dict(self.weights(averaged))
        except RuntimeError as error:
            raise UserError(f"checkpoint {self.path} does not fit the nets of stage {self.card.stage}: {error}") from None
        return nets

    def training_state(self) -> dict[str, Any] | None:
        """Optimizers and random state for going on, or None where this step no longer holds them."""
        file = self.path / "training.pt"
        return torch.load(file, map_location="cpu", weights_only=True) if file.exists() else None


def step_name(step: int) -> str:
    return f"step-{step:09d}"


def save(
    folder: Path, card: Card, weights: Mapping[str, Tensor], raw: Mapping[str, Tensor] | None, training: dict[str, Any]
) -> Checkpoint:
    """Writes one step below the stage's run folder and makes it the last; older steps give up their training state."""
    final, draft = folder / step_name(card.step), folder / f".{step_name(card.step)}.part"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, draft / "weights.safetensors")
    if raw is not None:
        save_file({k: v.detach().cpu().contiguous() for k, v in raw.items()}, draft / "raw.safetensors")
    torch.save(training, draft / "training.pt")
    (draft / "card.json").write_text(card.model_dump_json(indent=1), encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    draft.replace(final)
    _write_pointer(folder / "last", final.name)
    for older in all_steps(folder):
        if older.path != final:
            (older.path / "training.pt").unlink(missing_ok=True)
    return Checkpoint(final, card)


def prune(folder: Path, keep: int | None) -> None:
    """Removes all but the newest `keep` steps; None keeps all."""
    if keep is not None:
        for old in all_steps(folder)[:-keep]:
            shutil.rmtree(old.path)


def load(path: Path | str) -> Checkpoint:
    """A checkpoint from its step folder; raises UserError where it is missing, incomplete or of another format."""
    path = Path(path)
    try:
        card = Card.model_validate(json.loads((path / "card.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(
            f"no checkpoint at '{path}': expected a folder step-... with card.json and weights.safetensors"
        ) from None
    except json.JSONDecodeError:
        raise UserError(f"{path / 'card.json'} is not JSON; the checkpoint is damaged, train it again") from None
    except ValidationError as error:
        raise UserError(f"{path / 'card.json'}: {explain(error, Card)}") from None
    return Checkpoint(path, card)


def all_steps(folder: Path) -> list[Checkpoint]:
    """Every whole step below a stage's run folder, oldest first."""
    return [load(path.parent) for path in sorted(folder.glob("step-*/card.json"))]


def last(folder: Path) -> Checkpoint | None:
    """The newest whole step, or None where training has not saved one."""
    pointer = folder / "last"
    if pointer.exists() and (folder / pointer.read_text().strip() / "card.json").exists():
        return load(folder / pointer.read_text().strip())
    steps = all_steps(folder)
    return steps[-1] if steps else None


def _write_pointer(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}.part")
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(file)


def _read_weights(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except FileNotFoundError:
        raise UserError(f"{file} is missing; the checkpoint is incomplete, train it again") from None
    except SafetensorError as error:
        raise UserError(f"{file} is not a whole safetensors file ({error}); train it again or copy it anew") from None
