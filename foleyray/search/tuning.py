"""The search on Ray Tune: one Tune run over all classes, in which every class keeps an Optuna study of its own.

Ray's own `OptunaSearch` holds a single study, counts stopped trials as finished ones and cannot restore what happened
after its last snapshot; so the studies stand behind a searcher of our own, and their journal is what survives.
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from ray import cloudpickle, tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from foleyray.config import UserError
from foleyray.search.budget import Budget
from foleyray.search.config import SearchConfig
from foleyray.search.evaluator import Evaluator
from foleyray.search.making import Making
from foleyray.search.study import ClassStudy

MakeEvaluator = Callable[[], Evaluator]
WORKER_DEATHS = 2
"""How often a trial is begun again because its process died."""

QUIET = {"RAY_AIR_NEW_OUTPUT": "0", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
"""Tune's newer output prints tables however quiet it is asked to be; and relative paths are to mean what they meant."""


class Studies(Searcher):
    """Hands out the points of several studies in turn: all processors are busy, and no study overtakes the others.

    A study has several trials under way only where there are more processes than studies. Otherwise every suggestion
    knows all that came before it, and a search finds the same on any number of processes.
    """

    def __init__(
        self, studies: Sequence[ClassStudy], budget: Budget, concurrent: int, told: Callable[[ClassStudy, float], None]
    ) -> None:
        """`told` is called after every trial that is over, with its last score."""
        super().__init__(metric="fad", mode="min")
        self.left = {study: study.num_left for study in studies}
        self.running: dict[str, tuple[ClassStudy, optuna.Trial]] = {}
        self.budget, self.most_under_way, self.told = budget, -(-concurrent // len(studies)), told
        self.mistake: str | None = None

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self.left.update((study, 0) for study in self.left if self.budget.is_spent(study))
        if not any(self.left.values()):
            return Searcher.FINISHED
        under_way = Counter(study for study, _ in self.running.values())
        ready = [
            study
            for study, left in self.left.items()
            if left and under_way[study] < self.most_under_way and self.budget.allows(study, len(self.running))
        ]
        if not ready:
            return None
        study = min(ready, key=lambda study: (under_way[study], -self.left[study]))
        self.left[study] -= 1
        self.budget.begin(study)
        trial = study.ask()
        self.running[trial_id] = study, trial
        point = asdict(study.point(trial))
        return {"class": study.name, "label": study.label, "number": trial.number, **point}

    def is_losing(self, trial_id: str, clips: int, fad: float) -> bool:
        study, trial = self.running[trial_id]
        return study.is_losing(trial, clips, fad)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        study, trial = self.running.pop(trial_id)
        if error or result is None or "mistake" in result:
            self.left.clear()
            self.mistake = (result or {}).get("mistake")
            return
        study.tell(trial, result["clips"], result["fad"], result["time_total_s"])
        self.budget.add(result["clips"], result["time_total_s"])
        self.told(study, result["fad"])

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Scores reach the studies through the scheduler, which has to decide on them."""

    def save(self, checkpoint_path: str) -> None:
        """Tune keeps snapshots of its searcher to restore it from; here the journal does that, so this one is empty."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search is restored from its journal, not from Tune's snapshot")

    def __getstate__(self) -> dict[str, Any]:
        return {}


class EarlyStopping(FIFOScheduler):
    """Stops a trial on the rung where its own study finds it losing."""

    def __init__(self, studies: Studies) -> None:
        super().__init__()
        self.studies = studies

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        losing = self.studies.is_losing(trial.trial_id, result["clips"], result["fad"])
        return TrialScheduler.STOP if losing else TrialScheduler.CONTINUE


def tune_studies(studies: Studies, make: MakeEvaluator, settings: SearchConfig, folder: Path) -> None:
    """Runs the trials that are left; Tune's results and TensorBoard events go to `folder`/tune. Needs a running Ray.

    Raises what a trial raised, UserError among it, and KeyboardInterrupt where the user ended the run.
    """
    os.environ.update(QUIET)
    resources = {"cpu": settings.cpus_per_trial, "gpu": settings.gpus_per_trial}
    trainable = tune.with_parameters(
        Making, make=cloudpickle.dumps(make), seeds=settings.clip_seeds("search"), rungs=settings.rung_clips
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=studies,
            scheduler=EarlyStopping(studies),
            num_samples=sum(studies.left.values()),
            max_concurrent_trials=settings.concurrent,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.resolve()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    with _own_interrupt():
        results = tuner.fit()
    if studies.mistake:
        raise UserError(studies.mistake)
    for error in results.errors:
        raise error
    if any(studies.left.values()) or studies.running:
        raise KeyboardInterrupt


def _name(trial: Trial) -> str:
    return f"{trial.config['class']}-{trial.config['number']:04d}"


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Tune leaves its own answer to Ctrl-C behind; what comes after the search wants the one from before."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
