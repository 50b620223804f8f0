"""The training of one stage in one worker, from its last checkpoint to its last step: resume, log, validate, save.

Rank 0 writes; the others only compute. Nothing here knows whether Ray has started it.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, Protocol

from foleyray import checkpoint
from foleyray.checkpoint import Checkpoint
from foleyray.progress import Progress
from foleyray.stage import Batch
from foleyray.train.claim import claimed, patient_interrupt
from foleyray.train.job import Job
from foleyray.train.journal import LOOK_EVERY, Journal
from foleyray.train.loop import Loop, forked
from foleyray.train.previews import previews
from foleyray.train.workers import Workers

logger = logging.getLogger("foleyray")


class Batches(Protocol):
    """Endless batches that remember where they stand."""

    def __iter__(self) -> Iterator[Batch]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def train_stage(job: Job, workers: Workers, feed: Batches, reference: list[Batch], progress: Progress) -> None:
    """Trains until the last step is saved. `reference` are the batches to validate on, used by rank 0.

    Raises UserError where the numbers are lost, KeyboardInterrupt after saving where Ctrl-C was pressed.
    """
    loop = Loop(job.stage, job.training, job.build(), workers)
    with loop.own_randomness(), claimed(job.folder) if workers.rank == 0 else nullcontext():
        session = Session(job, loop, feed, reference, progress)
        try:
            session.run()
        finally:
            session.journal.close()


class Session:
    """One attempt at a stage: it may be the first, or go on from what an earlier one has saved."""

    def __init__(self, job: Job, loop: Loop, feed: Batches, reference: list[Batch], progress: Progress) -> None:
        self.job, self.loop, self.feed, self.reference, self.progress = job, loop, feed, reference, progress
        self.begun_from = self._resume()
        self.journal = Journal(job.stage_name, job.folder, loop.step, loop.workers)
        self.looked = time.monotonic()

    def run(self) -> None:
        loop, training = self.loop, self.job.training
        if self.begun_from is None:
            self._save()
        batches = iter(self.feed)
        with (
            self.progress.begin(self.job.stage_name, training.steps, "steps", done=loop.step) as task,
            patient_interrupt() as interrupted,
        ):
            while loop.step < training.steps:
                losses = loop.advance([next(batches) for _ in range(training.accumulate)])
                self.journal.add(loop.step, losses)
                stop = interrupted()
                due = stop or loop.step % training.checkpoint_every == 0 or loop.step == training.steps
                task.advance(1, self._look() if due or loop.step % LOOK_EVERY == 0 else "")
                if due:
                    self._save()
                    self.looked = time.monotonic()
                if stop:
                    raise KeyboardInterrupt

    def _look(self) -> str:
        """Draws the curves; the losses as the note beside the progress bar."""
        began, self.looked = self.looked, time.monotonic()
        steps = len(self.journal.waiting)
        means = self.journal.look()
        rates = {f"{turn}/learning_rate": o.param_groups[0]["lr"] for turn, o in self.loop.optimizers.items()}
        self.journal.draw(rates | {"steps_per_second": steps / (self.looked - began)}, self.loop.step)
        return ", ".join(f"{key.removesuffix('/loss')} {value:.3g}" for key, value in means.items() if key.endswith("/loss"))

    def _resume(self) -> Checkpoint | None:
        """Puts the loop where the newest step that can be trained on has left it; None where there is none yet.

        Rank 0 chooses the step for all: it has waited until nobody else writes into the folder.
        """
        workers = self.loop.workers
        newest = checkpoint.resumable(self.job.folder) if workers.rank == 0 else None
        saved: Checkpoint | None = workers.gather(newest)[0]
        state = saved.training_state() if saved else None
        if saved is None or state is None:
            return None
        saved.restore(self.loop.nets, averaged=False)
        self.loop.average.load(saved.weights())
        states = state.pop("workers")
        mine = states[workers.rank] if len(states) == workers.size else None
        self.loop.restore(state, mine and mine["random"])
        if mine:
            self.feed.load_state_dict(mine["feed"])
        if saved.card.step:
            self.progress.say(f"{self.job.stage_name} goes on from step {saved.card.step} of {self.job.training.steps}")
        return saved

    def _save(self) -> None:
        """One checkpoint with its validation losses; every worker takes part, rank 0 writes."""
        loop, folder = self.loop, self.job.folder
        if not loop.is_finite():
            raise self.journal.lost("a weight is no number any more", loop.step)
        states = loop.workers.gather({"random": loop.random_state(), "feed": self.feed.state_dict()})
        if loop.workers.rank:
            return
        scores = {f"validation/{name}": value for name, value in loop.validate(self.reference).items()}
        self.journal.draw(scores, loop.step)
        raw = loop.nets.state_dict() if loop.average.values else None
        card = self.job.card(loop.step, scores)
        saved = checkpoint.save(folder, card, loop.average.weights(), raw, loop.state() | {"workers": states})
        self._tidy()
        if self.job.makes_the_sound:
            self._preview(saved)

    def _tidy(self) -> None:
        """Removes what `keep` does not ask for, and the step at which an earlier attempt was interrupted."""
        old, self.begun_from = self.begun_from, None
        if old and old.card.step != self.loop.step and _is_stray(old, self.job.training.checkpoint_every):
            checkpoint.remove(old)
        checkpoint.prune(self.job.folder, self.job.training.keep)

    def _preview(self, saved: Checkpoint) -> None:
        """Sounds for TensorBoard; a training never ends because its sounds could not be made."""
        found = {**self.job.earlier, self.job.stage_name: saved}
        wanted = {name: found[name] for name in self.job.system.samples_from(self.job.config)}
        try:
            with forked(self.loop.workers.device, seed=0):
                sounds, sample_rate_hz = previews(wanted, self.loop.workers.device)
        except Exception as error:
            logger.warning("no previews at step %d of %s: %s", saved.card.step, self.job.stage_name, error)
            return
        self.journal.play(sounds, sample_rate_hz, saved.card.step)


def _is_stray(saved: Checkpoint, every: int) -> bool:
    """Whether a step was saved because of an interruption: it lies on no grid and was no end."""
    steps = saved.card.config["training"][saved.card.stage]["steps"]
    return saved.card.step % every != 0 and saved.card.step != steps
