"""Checkpoints on disk: weights as safetensors, a card that says what they are, and the state to go on training.

    <run>/<stage>/<8 hex>/step-000000800/weights.safetensors   averaged weights where the stage averages, keys `net.param`
                                         raw.safetensors       as trained, those tensors whose averaged ones differ
                                         training.pt           optimizers and random state, only in the newest step
                                         card.json
    <run>/<stage>/<8 hex>/last           text: the name of the newest whole step

A folder appears by renaming a finished one, so a checkpoint is whole or not there.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from foleyray.clips import ClassList
from foleyray.config import Config, UserError, explain
from foleyray.files import write_whole
from foleyray.stage import Every

TRAINING = "training.pt"


class Card(Config):
    """What a checkpoint is: where it came from, what it was trained on, and what it needs."""

    system: str | None
    """None where several systems may use the stage; `config` then holds the settings of the stage alone."""
    stage: str
    run: str
    step: int
    config: dict[str, Any]
    classes: ClassList
    mel_id: str
    needs: dict[str, str] = {}
    """Stages this one was trained on."""
    sounds_with: dict[str, str] = {}
    """Stages it makes its sound with; only for the stage that makes the sound."""
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
        weights = _read_weights(self.path / "weights.safetensors")
        return weights | _read_weights(raw) if raw.exists() and not averaged else weights

    def restore(self, nets: nn.ModuleDict, averaged: bool = True) -> nn.ModuleDict:
        """Loads the weights into nets of the same build; raises UserError naming what does not fit."""
        try:
            nets.load_state_dict(self.weights(averaged))
        except RuntimeError as error:
            raise UserError(f"checkpoint {self.path} does not fit the nets of stage {self.card.stage}: {error}") from None
        return nets

    def training_state(self) -> dict[str, Any] | None:
        """Optimizers and random state for going on, or None where this step no longer holds them."""
        file = self.path / TRAINING
        return torch.load(file, map_location="cpu", weights_only=True) if file.exists() else None


def step_name(step: int) -> str:
    return f"step-{step:09d}"


def save(
    folder: Path, card: Card, weights: Mapping[str, Tensor], raw: Mapping[str, Tensor] | None, training: dict[str, Any]
) -> Checkpoint:
    """Writes one step below the stage's run folder and makes it the last; older steps give up their training state.

    `weights` are the averaged ones where some are averaged, and `raw` the same tensors as trained.
    """
    final, draft = folder / step_name(card.step), folder / f".{step_name(card.step)}.part"
    for left_behind in folder.glob(".step-*.part"):
        shutil.rmtree(left_behind)
    draft.mkdir(parents=True)
    _write_weights(draft / "weights.safetensors", weights)
    if raw is not None:
        apart = {key: value for key, value in raw.items() if not torch.equal(value, weights[key])}
        _write_weights(draft / "raw.safetensors", apart)
    torch.save(training, draft / TRAINING)
    (draft / "card.json").write_text(card.model_dump_json(indent=1), encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    draft.replace(final)
    write_whole(folder / "last", final.name + "\n")
    for older in all_steps(folder):
        if older.path != final:
            (older.path / TRAINING).unlink(missing_ok=True)
    return Checkpoint(final, card)


def remove(step: Checkpoint) -> None:
    """Takes a step away as a whole: it is renamed out of sight before its files go."""
    hidden = step.path.with_name(f".{step.path.name}.part")
    step.path.replace(hidden)
    shutil.rmtree(hidden)


def prune(folder: Path, keep: int | Every | None) -> None:
    """Removes all but the newest `keep` steps, or those off a schedule; None keeps all.

    The newest step always stays, to go on from, and so does step 0, the untrained nets.
    """
    steps = [step for step in all_steps(folder) if step.card.step]
    if isinstance(keep, Every):
        stale = [step for step in steps[:-1] if not keep.holds(step.card.step)]
    else:
        stale = steps[:-keep] if keep else []
    for old in stale:
        remove(old)


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


def resumable(folder: Path) -> Checkpoint | None:
    """The newest whole step that training can go on from, or None."""
    return next((step for step in reversed(all_steps(folder)) if (step.path / TRAINING).exists()), None)


@cache
def source_commit() -> str:
    """The commit of the checkout this code lies in, or `unknown` where it is installed without one."""
    checkout = Path(__file__).parents[1]
    if not (checkout / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _write_weights(file: Path, weights: Mapping[str, Tensor]) -> None:
    """Tensors that share memory (tied weights) are written once each, so that any reader of safetensors can take them."""
    save_file({key: value.detach().to("cpu", copy=True).contiguous() for key, value in weights.items()}, file)


def _read_weights(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except FileNotFoundError:
        raise UserError(f"{file} is missing; the checkpoint is incomplete, train it again") from None
    except SafetensorError as error:
        raise UserError(f"{file} is not a whole safetensors file ({error}); train it again or copy it anew") from None
