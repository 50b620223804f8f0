"""What a training tells of itself: TensorBoard curves and sounds, and the watch over losses that stop being numbers."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from foleyray import checkpoint
from foleyray.config import UserError
from foleyray.stage import Losses
from foleyray.train.workers import Workers

LOOK_EVERY = 10
"""Steps whose losses stay on the device before anybody looks at them: looking makes a GPU wait."""


class Journal:
    """Losses by turn, kept on the device, looked at together, averaged over the workers, and drawn by rank 0."""

    def __init__(self, stage: str, folder: Path, step: int, workers: Workers) -> None:
        """`folder` is the run's; curves beyond `step`, from a training that was cut off, are taken back."""
        self.stage, self.folder, self.workers = stage, folder, workers
        self.writer = SummaryWriter(str(folder), purge_step=step + 1) if workers.rank == 0 else None
        self.waiting: list[tuple[int, dict[str, Losses]]] = []

    def add(self, step: int, losses: dict[str, Losses]) -> None:
        """The losses of the step that has just been taken, the `step`-th."""
        self.waiting.append((step, losses))

    def look(self) -> dict[str, float]:
        """Means of what has been added since, `turn/name`; every worker must look. Raises UserError at a lost loss."""
        keys = [(step, turn, name) for step, turns in self.waiting for turn, losses in turns.items() for name in losses]
        found = [loss for _, turns in self.waiting for losses in turns.values() for loss in losses.values()]
        values = [loss.to(self.workers.device, torch.float32) for loss in found]
        self.waiting = []
        if not values:
            return {}
        rows: dict[str, list[float]] = {}
        for (step, turn, name), value in zip(keys, self.workers.average(torch.stack(values)).tolist(), strict=True):
            if name == "loss" and not abs(value) < float("inf"):
                raise self.lost(f"the loss of turn '{turn}' is {value}", step)
            rows.setdefault(f"{turn}/{name}", []).append(value)
        means = {key: sum(found) / len(found) for key, found in rows.items()}
        self.draw(means, keys[-1][0])
        return means

    def lost(self, what: str, step: int) -> UserError:
        """The sentence for numbers that are no numbers any more."""
        last = checkpoint.last(self.folder)
        return UserError(
            f"training of '{self.stage}' stopped: {what} at step {step}; the last good checkpoint is "
            f"{last.id if last else 'not written yet'}. Lower the learning rate, set training.{self.stage}.clip_gradient, "
            f"or set training.{self.stage}.precision to float32, and train again"
        )

    def draw(self, scalars: dict[str, float], step: int) -> None:
        if self.writer:
            for name, value in scalars.items():
                self.writer.add_scalar(name, value, step)

    def play(self, sounds: dict[str, Tensor], sample_rate_hz: int, step: int) -> None:
        """Waves (T,) in [-1, 1] by class name."""
        if self.writer:
            for name, wave in sounds.items():
                self.writer.add_audio(name, wave, step, sample_rate=sample_rate_hz)

    def close(self) -> None:
        if self.writer:
            self.writer.close()
