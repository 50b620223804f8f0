"""The search: a study per system and class, remembered on disk, and a winner for each class over all systems.

    <out>/studies/<8 hex>/study.json     what the search of one system is of: its name is the fingerprint of this
    <out>/studies/<8 hex>/journal.log    its Optuna studies, one per class; the memory of the search
    <out>/studies/<8 hex>/tune/          Ray Tune's results and TensorBoard events, a folder per trial

A killed search goes on from its journals, and a system that is added later finds those of the others finished. What would
change a number changes the name, so that no study mixes two searches; budget, machines and batch size may change.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
from foleyray.search.candidates import Candidates, Trained, newest
from foleyray.search.config import SearchConfig
from foleyray.search.entries import Entry, terms_of
from foleyray.search.evaluator import Evaluator, Maker
from foleyray.search.results import Searched, Winner, drop_winners, winner_of, write_trials, write_winner
from foleyray.search.study import ClassStudy, open_journal

FEWEST_CLIPS = 2


@dataclass(frozen=True)
class Aim:
    """What the search of one system is of, and what makes its evaluator in another process (so it is pickled).

    `identity` holds everything that would change a number.
    """

    system: str
    embedder: str
    params: type[SamplingParams]
    classes: ClassList
    candidates: Candidates
    settings: SearchConfig
    make: Callable[[], Evaluator]
    identity: dict[str, Any]

    @property
    def name(self) -> str:
        return fingerprint(self.identity)


def search(
    entries: Sequence[Entry], trained: Mapping[str, Trained], store: Store, out: Path, *, progress: Progress
) -> dict[str, Winner]:
    """Class name -> the best trial of all systems, by the Fréchet distance to the class's reference clips.

    `trained` holds, by system, the checkpoints of every stage as training returns them. What is searched already is not
    searched again. Raises UserError where entries do not compare, or checkpoints, corpus and settings do not fit;
    KeyboardInterrupt after Ctrl-C.
    """
    terms_of(entries)
    aims = [_aim(entry, trained.get(entry.system.name, {}), store) for entry in entries]
    check_split(store, "reference")
    return run_studies(aims, out, progress)


def _aim(entry: Entry, trained: Trained, store: Store) -> Aim:
    system, settings = entry.system, entry.settings
    candidates = newest(system, entry.config, trained, store.classes, settings.checkpoints)
    embedder = find(settings.embedder, settings.weights, "cpu")
    identity = {
        "system": system.name,
        "checkpoints": {stage: [step.id for step in steps] for stage, steps in candidates.stages.items()},
        "params": {name: bounds.model_dump(mode="json", exclude={"help"}) for name, bounds in system.params.space().items()},
        "corpus": store.fingerprint,
        "embedder": [embedder.name, embedder.recipe, embedder.weights_id],
        "clips": settings.clips,
        "rungs": settings.rungs,
        "seed": settings.seed,
    }
    make = Maker(system, entry.config, candidates, settings, store.path.resolve(), "reference")
    heard_by = f"{embedder.name}:{embedder.recipe}"
    return Aim(system.name, heard_by, system.params, store.classes, candidates, settings, make, identity)


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


def run_studies(aims: Sequence[Aim], out: Path, progress: Progress) -> dict[str, Winner]:
    """Runs what is left of the studies on Ray, a system after the other, and chooses the winners from all of them."""
    with ExitStack() as held:
        folders = {aim.system: out / "studies" / aim.name for aim in aims}
        for folder in folders.values():
            held.enter_context(_claimed(folder))
        searched = [_open(aim, folders[aim.system]) for aim in aims]
        drop_winners(out, {each.system: each.name for each in searched})
        try:
            if any(study.num_left for each in searched for study in each.studies):
                held.enter_context(cluster.connected())
            for aim, each in zip(aims, searched, strict=True):
                _run(aim, each.studies, folders[aim.system], progress)
        finally:
            write_trials(out, searched)
        winners = {name: winner_of(name, searched) for name in aims[0].classes.names}
        for winner in winners.values():
            write_winner(out, winner)
    return winners


def _open(aim: Aim, folder: Path) -> Searched:
    (folder / "study.json").write_text(json.dumps(aim.identity, indent=1), encoding="utf-8")
    journal = open_journal(folder / "journal.log")
    studies = [
        ClassStudy(journal, name, label, aim.params, aim.candidates.num_ages, aim.settings)
        for label, name in enumerate(aim.classes.names)
    ]
    return Searched(aim.system, aim.name, aim.embedder, aim.candidates, studies)


def _run(aim: Aim, studies: Sequence[ClassStudy], folder: Path, progress: Progress) -> None:
    """Needs a running Ray where a trial is left."""
    left = [study for study in studies if study.num_left]
    if not left:
        progress.say(f"{aim.system} is searched already: {aim.settings.trials} trials of every class in {folder}")
        return
    total = aim.settings.trials * len(studies)
    done = total - sum(study.num_left for study in left)
    if done:
        progress.say(f"the search of {aim.system} goes on: {done} of {total} trials were done")
    for study in left:
        study.resume()
    with progress.begin(f"search {aim.system}", total, "trials", done) as task:
        from foleyray.search.tuning import Studies, tune_studies

        def told(study: ClassStudy, fad: float) -> None:
            task.advance(1, f"{study.name} {fad:.2f}")

        check_machine(aim.settings)
        tune_studies(Studies(left, aim.settings.concurrent, told), aim.make, aim.settings, folder)


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
