"""The search of a system: one study per class, remembered on disk, and a winner for each class.

    <out>/studies/<8 hex>/study.json     what the search is of: its name is the fingerprint of this
    <out>/studies/<8 hex>/journal.log    the Optuna studies, one per class; the memory of the search
    <out>/studies/<8 hex>/tune/          Ray Tune's results and TensorBoard events, a folder per trial

A killed search goes on from its journal. What would change a number changes the name, so that no study mixes two
searches; budget, machines and batch size may change.
"""

import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foleyray import cluster
from foleyray.clips import ClassList
from foleyray.config import UserError, fingerprint
from foleyray.corpus.store import Store
from foleyray.metrics.embedder import find
from foleyray.progress import Progress
from foleyray.sampling import SamplingParams
from foleyray.search.candidates import Candidate, Trained, ids, newest
from foleyray.search.config import SearchConfig
from foleyray.search.evaluator import Evaluator, Maker
from foleyray.search.results import Contender, Winner, drop_winners, write_trials, write_winner
from foleyray.search.study import ClassStudy, Tried, open_journal
from foleyray.system import System, SystemConfig

FEWEST_CLIPS = 2


@dataclass(frozen=True)
class Aim:
    """What a search is of. `identity` holds everything that would change a number."""

    system: str
    embedder: str
    params: type[SamplingParams]
    classes: ClassList
    candidates: Sequence[Candidate]
    identity: dict[str, Any]

    @property
    def name(self) -> str:
        return fingerprint(self.identity)


def search(
    system: System,
    config: SystemConfig,
    settings: SearchConfig,
    store: Store,
    checkpoints: Trained,
    out: Path,
    *,
    progress: Progress,
) -> dict[str, Winner]:
    """Class name -> the best trial, by the Fréchet distance to the class's reference clips.

    `checkpoints` are those of every stage, as training returns them. What is searched already is not searched again.
    Raises UserError where checkpoints, corpus and settings do not fit, KeyboardInterrupt after Ctrl-C.
    """
    candidates = newest(system, config, checkpoints, store.classes, settings.checkpoints)
    check_split(store, "reference")
    embedder = find(settings.embedder, settings.weights, "cpu")
    identity = {
        "system": system.name,
        "checkpoints": [ids(candidate) for candidate in candidates],
        "params": {name: bounds.model_dump(mode="json") for name, bounds in system.params.space().items()},
        "corpus": store.fingerprint,
        "embedder": [embedder.name, embedder.recipe, embedder.weights_id],
        "clips": settings.clips,
        "rungs": settings.rungs,
        "seed": settings.seed,
    }
    aim = Aim(system.name, f"{embedder.name}:{embedder.recipe}", system.params, store.classes, candidates, identity)
    make = Maker(system, config, candidates, settings, store.path.resolve(), "reference")
    return run_studies(aim, make, settings, out, progress)


def check_split(store: Store, split: str) -> None:
    """Raises UserError where a class has too few clips for a distance."""
    poor = [name for name, count in store.counts[split].items() if count < FEWEST_CLIPS]
    if poor:
        raise UserError(
            f"the split '{split}' of {store.path} has fewer than {FEWEST_CLIPS} clips of {', '.join(poor)}; "
            f"a distance needs at least {FEWEST_CLIPS}, so add recordings and build the corpus again"
        )


def check_machine(settings: SearchConfig) -> None:
    """Raises UserError where a trial would wait for ever. A cluster that was joined may grow, so it is not asked."""
    import ray

    present = ray.cluster_resources()
    wanted = {"CPU": settings.cpus_per_trial, "GPU": settings.gpus_per_trial}
    for kind, share in wanted.items():
        if share > present.get(kind, 0.0) and "RAY_ADDRESS" not in os.environ:
            raise UserError(
                f"search.{kind.lower()}s_per_trial is {share:g}, but this machine has {present.get(kind, 0.0):g}; lower it"
            )


def run_studies(
    aim: Aim, make: Callable[[], Evaluator], settings: SearchConfig, out: Path, progress: Progress
) -> dict[str, Winner]:
    """Runs what is left of the studies on Ray. `make` makes an evaluator in another process, so it is pickled."""
    folder = out / "studies" / aim.name
    with _claimed(folder):
        (folder / "study.json").write_text(json.dumps(aim.identity, indent=1), encoding="utf-8")
        journal = open_journal(folder / "journal.log")
        studies = [
            ClassStudy(journal, name, label, aim.params, len(aim.candidates), settings)
            for label, name in enumerate(aim.classes.names)
        ]
        drop_winners(out, aim.name)
        try:
            _run(studies, make, settings, folder, progress)
        finally:
            write_trials(out, studies, aim.candidates)
        winners = {study.name: _winner(aim, study) for study in studies}
        for winner in winners.values():
            write_winner(out, winner)
    return winners


def _run(
    studies: Sequence[ClassStudy], make: Callable[[], Evaluator], settings: SearchConfig, folder: Path, progress: Progress
) -> None:
    left = [study for study in studies if study.num_left]
    if not left:
        progress.say(f"searched already: {settings.trials} trials of every class in {folder}")
        return
    total = settings.trials * len(studies)
    done = total - sum(study.num_left for study in left)
    if done:
        progress.say(f"the search goes on: {done} of {total} trials were done")
    for study in left:
        study.resume()
    with cluster.connected(), progress.begin("search", total, "trials", done) as task:
        from foleyray.search.tuning import Studies, tune_studies

        def told(study: ClassStudy, fad: float) -> None:
            task.advance(1, f"{study.name} {fad:.2f}")

        check_machine(settings)
        tune_studies(Studies(left, settings.concurrent, told), make, settings, folder)


def _winner(aim: Aim, study: ClassStudy) -> Winner:
    best, *others = study.ranked()
    if not math.isfinite(best.fad):
        raise UserError(
            f"none of the {len(study.tried())} trials of {study.name} made sounds that have a distance: the waves are not "
            f"finite; train {aim.system} again with a lower learning rate"
        )
    rivals = [_contender(aim, trial) for trial in others if math.isfinite(trial.fad)]
    return Winner(
        **_contender(aim, best).model_dump(),
        system=aim.system,
        study=aim.name,
        embedder=aim.embedder,
        class_name=study.name,
        clips=best.clips,
        trials=len(study.tried()),
        runner_up=next(iter(rivals), None),
    )


def _contender(aim: Aim, trial: Tried) -> Contender:
    checkpoints = ids(aim.candidates[trial.point.candidate])
    return Contender(checkpoints=checkpoints, params=trial.point.params, fad=trial.fad, trial=trial.number)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Holds the folder for one process, until the block or the process ends; raises UserError where another one has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another search is at work in {folder}; wait for its end, or name another --out") from None
        yield
