"""One Optuna study per class, kept in a journal on disk: what is asked next, what is stopped, what was found.

The journal is the only memory of a search. A killed search reads it and goes on; `optuna-dashboard` reads it too.
Knows no Ray.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from numpy.random import SeedSequence
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from foleyray.sampling import SamplingParams
from foleyray.search.config import SearchConfig
from foleyray.search.starts import crossed, starts_of
from foleyray.search.trial import Point, point, space, start

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
RANDOM_TRIALS = 4
"""Trials before Optuna's tree-structured Parzen estimator takes over, the start point among them: budgets are small here."""
FIRST_CHECKPOINTS = 6
"""Newest checkpoints of the last stage that are tried at the start values before anything else; bad ones stop early."""
SECONDS = "seconds"


SET_STATE = 6
"""Optuna's code for what ends a trial, in its journals."""


class _Journal(JournalFileBackend):
    """A journal of one process, which has claimed its folder: no lock, for a lock file would outlive a killed search.

    It waits for the disk when a trial is over and not at each of the ten lines before, so that a power cut may lose the
    trials under way, as a kill does.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        self.file = file

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with self.file.open("ab") as journal:
            journal.write("".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode())
            if any(log["op_code"] == SET_STATE for log in logs):
                journal.flush()
                os.fsync(journal.fileno())


def open_journal(file: Path) -> JournalStorage:
    """The storage of all studies of one search, for a single process at a time."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return JournalStorage(_Journal(file))


@dataclass(frozen=True)
class Tried:
    """A trial that is over. `rungs` are (clips, FAD) pairs; it was stopped where the last one has not all the clips."""

    number: int
    point: Point
    rungs: tuple[tuple[int, float], ...]
    stopped: bool
    seconds: float

    @property
    def clips(self) -> int:
        return self.rungs[-1][0]

    @property
    def fad(self) -> float:
        return self.rungs[-1][1]


class ClassStudy:
    """The study of one class of one system.

    Its next point depends on the seed and on the trials that are finished or running, on nothing else; so where trials
    run one after the other, a search that was interrupted finds what an uninterrupted one finds.
    """

    def __init__(
        self,
        storage: JournalStorage,
        name: str,
        label: int,
        params: type[SamplingParams],
        num_ages: Mapping[str, int],
        settings: SearchConfig,
    ) -> None:
        """`num_ages`: stage -> how many checkpoints it has to choose from."""
        self.name, self.label, self.num_ages, self.settings = name, label, num_ages, settings
        self.space, own = space(params, num_ages), start(params, num_ages)
        grid = crossed(settings.grid, own, num_ages)
        given = ({**own, **point} for point in starts_of(settings, name))
        self.starts = grid or [own, *given, *crossed(({},), own, num_ages)[:FIRST_CHECKPOINTS]]
        self.num_trials = len(grid) or settings.trials
        self.study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)

    def resume(self) -> None:
        """Gives up what a killed search left running, and lines up the start points that are neither over nor in line."""
        for trial in self._trials(TrialState.RUNNING):
            self.study.tell(trial.number, state=TrialState.FAIL)
        known = [trial.params for trial in self._trials(*FINISHED)]
        known += [trial.system_attrs["fixed_params"] for trial in self._trials(TrialState.WAITING)]
        for wanted in self.starts:
            if wanted not in known:
                self.study.enqueue_trial(wanted)
                known.append(wanted)

    def ask(self) -> optuna.Trial:
        """The next point to try."""
        known = len(self._trials(*FINISHED, TrialState.RUNNING))
        seed = int(SeedSequence((self.settings.seed, self.label, known)).generate_state(1)[0])
        self.study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
        return self.study.ask(self.space)

    def point(self, trial: optuna.Trial) -> Point:
        return point(trial.params, self.num_ages)

    def is_losing(self, trial: optuna.Trial, clips: int, fad: float) -> bool:
        """Notes the score of a rung; True where the trial is not in the better half of those that came this far.

        Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020, with
        a reduction factor of 2). The first to come to a rung goes on, so some trial always makes all its clips.
        """
        trial.report(fad, clips)
        scores = [known.intermediate_values.get(clips) for known in self._trials(*FINISHED, TrialState.RUNNING)]
        rivals = sorted(score for score in scores if score is not None)
        return fad > rivals[max(1, len(rivals) // 2) - 1]

    def tell(self, trial: optuna.Trial, clips: int, fad: float, seconds: float) -> None:
        """Ends a trial with its last score. Scores of fewer clips are larger, so a stopped trial is told as stopped."""
        trial.set_user_attr(SECONDS, seconds)
        if clips < self.settings.clips:
            self.study.tell(trial, state=TrialState.PRUNED)
            return
        trial.report(fad, clips)
        self.study.tell(trial, fad)

    def tried(self) -> list[Tried]:
        """The trials that are over, in the order in which they were asked for."""
        return [self._tried(number, trial) for number, trial in enumerate(self._trials(*FINISHED))]

    @property
    def num_left(self) -> int:
        """Trials that the budget still allows."""
        return max(0, self.num_trials - len(self._trials(*FINISHED)))

    def ranked(self) -> list[Tried]:
        """The trials of all clips at different points, the smallest distance first; one at least once none is left."""
        found: list[Tried] = []
        for trial in sorted((trial for trial in self.tried() if not trial.stopped), key=lambda trial: trial.fad):
            if all(trial.point != better.point for better in found):
                found.append(trial)
        return found

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states)

    def _tried(self, number: int, trial: FrozenTrial) -> Tried:
        rungs = tuple(sorted(trial.intermediate_values.items()))
        chosen = point(trial.params, self.num_ages)
        return Tried(number, chosen, rungs, trial.state == TrialState.PRUNED, trial.user_attrs[SECONDS])
