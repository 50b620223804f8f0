"""The training loop: what one step does to the nets of a stage. Knows no files, no Ray, and no stage by name.

For every step, for every turn: ask the stage for a loss, go backward, average the gradients over the workers, clip, and
let the turn's optimizer step. Plain stages have one turn and GANs two, and nothing else differs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from foleyray.stage import Batch, Losses, Stage, Step, Training
from foleyray.train.ema import Average
from foleyray.train.workers import Workers


class Loop:
    """The nets of one stage in training: their optimizers, their averaged weights and the step they have reached."""

    def __init__(self, stage: Stage, training: Training, nets: nn.ModuleDict, workers: Workers) -> None:
        """`nets` are fresh from `stage.build`; a parameter that does not ask for a gradient now never gets one."""
        self.stage, self.training, self.workers = stage, training, workers
        self.nets = nets.to(workers.device)
        self.trained = tuple(dict.fromkeys(name for owned in stage.turns.values() for name in owned))
        self.parameters = {name: [p for p in nets[name].parameters() if p.requires_grad] for name in self.trained}
        for name in nets.keys() - set(self.trained):
            nets[name].requires_grad_(False)
        self.optimizers = {turn: stage.optimizer(turn, nets) for turn in stage.turns}
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        names = stage.averaged if training.average else ()
        self.average = Average(self.nets, names, training.average or 0.0, training.average_from)
        self.generator = torch.Generator(workers.device).manual_seed(seed_of(training.seed, workers.rank))
        self.step = 0
        self._listen()

    def advance(self, batches: Sequence[Batch]) -> dict[str, Losses]:
        """One step on the batches whose gradients are summed; turn -> its losses, averaged over them, on the device."""
        batches = [{key: column.to(self.workers.device, non_blocking=True) for key, column in b.items()} for b in batches]
        moments = [Step(self.step, self.training.steps, self.generator) for _ in batches]
        losses: dict[str, Losses] = {}
        for turn in self.stage.turns:
            for _ in range(self.stage.repeats.get(turn, 1)):
                losses[turn] = self._take(turn, batches, moments)
        self.step += 1
        self.average.update(self.step)
        return losses

    def _take(self, turn: str, batches: Sequence[Batch], moments: Sequence[Step]) -> Losses:
        optimizer = self.optimizers[turn]
        optimizer.zero_grad()
        self._own(turn)
        sums: Losses = {}
        for batch, moment in zip(batches, moments, strict=True):
            with self._precision():
                losses = self.stage.loss(turn, self.nets, batch, moment)
            torch.autograd.backward(losses["loss"] / len(batches))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.detach() / len(batches)
        sums |= self._finish_gradients(turn)
        factor = self.stage.learning_rate(turn, moments[0])
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        optimizer.step()
        return sums

    def _own(self, turn: str) -> None:
        """Only the turn's nets get gradients; those of the others flow through."""
        for name in self.trained:
            for parameter in self.parameters[name]:
                parameter.requires_grad_(name in self.stage.turns[turn])

    def _finish_gradients(self, turn: str) -> Losses:
        """Averages over the workers and clips each net of the turn; the norms before clipping are worth a curve."""
        owned = self.stage.turns[turn]
        self.workers.average_gradients([p for name in owned for p in self.parameters[name]])
        if self.training.clip_gradient is None:
            return {}
        return {f"{name}_norm": clip_grad_norm_(self.parameters[name], self.training.clip_gradient) for name in owned}

    def _precision(self) -> torch.autocast:
        kind = self.workers.device.type
        wanted = self.training.precision
        return torch.autocast(kind, torch.bfloat16, enabled=wanted == "bf16" or (wanted == "auto" and kind != "cpu"))

    @torch.no_grad()
    def validate(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Mean losses of the averaged weights, in evaluation mode; disturbs no random number of the training."""
        generator = torch.Generator(self.workers.device).manual_seed(self.training.seed)
        sums: dict[str, float] = {}
        clips = sum(_clips(batch) for batch in batches)
        with self.average.applied() as nets, forked(self.workers.device, self.training.seed):
            nets.eval()
            for batch in batches:
                placed = {key: column.to(self.workers.device) for key, column in batch.items()}
                with self._precision():
                    losses = self.stage.validate(nets, placed, Step(self.step, self.training.steps, generator))
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + float(value) * _clips(batch) / clips
        self._listen()
        return sums

    def _listen(self) -> None:
        """Training mode for the nets that are trained, evaluation mode for those that are only held."""
        for name, net in self.nets.items():
            net.train(name in self.trained)

    def is_finite(self) -> bool:
        """Whether every parameter is still a number."""
        return all(bool(p.isfinite().all()) for parameters in self.parameters.values() for p in parameters)

    def state(self) -> dict[str, Any]:
        """What all workers share beside the weights: to be saved once."""
        return {"step": self.step, "optimizers": {turn: o.state_dict() for turn, o in self.optimizers.items()}}

    def random_state(self) -> dict[str, Tensor]:
        """Where this worker's random numbers stand: the loop's own, and those that dropout draws from."""
        state = {"generator": self.generator.get_state(), "cpu": torch.get_rng_state()}
        return state | ({"cuda": torch.cuda.get_rng_state(self.workers.device)} if self.workers.device.type == "cuda" else {})

    def restore(self, state: dict[str, Any], random_state: dict[str, Tensor] | None) -> None:
        """Goes back to where `state` was taken; the weights are loaded apart. None: new random numbers for a new worker."""
        self.step = state["step"]
        for turn, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][turn])
        if random_state is None:
            self.generator.manual_seed(seed_of(self.training.seed, self.workers.rank, self.step))
            return
        self.generator.set_state(random_state["generator"])
        torch.set_rng_state(random_state["cpu"])
        if "cuda" in random_state and self.workers.device.type == "cuda":
            torch.cuda.set_rng_state(random_state["cuda"], self.workers.device)

    @contextmanager
    def own_randomness(self) -> Iterator[None]:
        """For the length of a block, dropout draws numbers of its own, by seed and rank."""
        with forked(self.workers.device, seed_of(self.training.seed, self.workers.rank)):
            yield


@contextmanager
def forked(device: torch.device, seed: int) -> Iterator[None]:
    """Global random numbers that begin at `seed` and leave no trace."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def seed_of(*parts: int) -> int:
    """One seed out of several numbers, unrelated to those of their neighbours."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _clips(batch: Batch) -> int:
    return len(next(iter(batch.values())))
