"""The search: a study per system and class, remembered on disk, and a winner for each class over all systems.

    <out>/studies/<8 hex>/study.json     what the search of one system is of: its name is the fingerprint of this
    <out>/studies/<8 hex>/journal.log    its Optuna studies, one per class; the memory of the search
    <out>/studies/<8 hex>/tune/          Ray Tune's results and TensorBoard events, a folder per trial

A killed search goes on from its journals, and a system that is added later finds those of the others finished. What would
change a number changes the name, so that no study mixes two searches; budget, machines and batch size may change.
"""

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foleyray import cluster
from foleyray.checkpoint import Checkpoint
from foleyray.clips import ClassList
from foleyray.config import UserError, fingerprint
from foleyray.corpus.store import Store
from foleyray.metrics.embedder import find
from foleyray.progress import Progress
from foleyray.sampling import SamplingParams
from foleyray.search.budget import Budget
from foleyray.search.candidates import Candidates, Trained, newest
from foleyray.search.checks import check_machine, check_split
from foleyray.search.config import SearchConfig
from foleyray.search.entries import Entry, terms_of
from foleyray.search.evaluator import Evaluator, Maker
from foleyray.search.finals import Final, Head, Round, write_choosing
from foleyray.search.results import Searched, Winner, drop_winners, read_winner, winner_of, write_trials, write_winner
from foleyray.search.scoring import find_scorer
from foleyray.search.starts import check_starts
from foleyray.search.study import ClassStudy, open_journal
from foleyray.search.table import write_results

SPACE = 2
"""Of what trials choose from, in the name of a study: 2 since checkpoints have no order."""


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
    store: Store
    scorer: Checkpoint | None = None

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
    settings = terms_of(entries)
    scorer = find_scorer([entry.system.name for entry in entries], trained, settings)
    aims = [aim_of(entry, trained.get(entry.system.name, {}), store, scorer) for entry in entries]
    check_split(store, settings.split)
    return run_studies(aims, out, progress)


def aim_of(entry: Entry, trained: Trained, store: Store, scorer: Checkpoint | None) -> Aim:
    system, settings = entry.system, entry.settings
    candidates = newest(system, entry.config, trained, store.classes, settings.checkpoints)
    check_starts(system, settings, store.classes)
    embedder = find(settings.embedder, settings.weights, "cpu")
    identity = {
        "space": SPACE,
        "system": system.name,
        "checkpoints": {stage: [step.id for step in steps] for stage, steps in candidates.stages.items()},
        "params": {name: bounds.model_dump(mode="json", exclude={"help"}) for name, bounds in system.params.space().items()},
        "corpus": store.fingerprint,
        "embedder": [embedder.name, embedder.recipe, embedder.weights_id],
        "clips": settings.clips,
        "rungs": settings.rungs,
        "seed": settings.seed,
    }
    if settings.protocol != "clean_selection":
        identity["protocol"] = settings.protocol
    if settings.grid:
        identity["grid"] = settings.grid
    make = Maker(system, entry.config, candidates, settings, store.path.resolve(), settings.split, scorer)
    heard_by = f"{embedder.name}:{embedder.recipe}"
    return Aim(system.name, heard_by, system.params, store.classes, candidates, settings, make, identity, store, scorer)


def run_studies(aims: Sequence[Aim], out: Path, progress: Progress) -> dict[str, Winner]:
    """Runs what is left of the studies on Ray, a system after the other, and chooses the winners from all of them."""
    with ExitStack() as held:
        folders = {aim.system: out / "studies" / aim.name for aim in aims}
        for folder in folders.values():
            held.enter_context(_claimed(folder))
        searched = [_open(aim, folders[aim.system]) for aim in aims]
        chosen_by = _chosen_by(aims)
        drop_winners(out, {each.system: each.name for each in searched}, chosen_by)
        try:
            if any(Budget(aim.settings, each.studies).left(each.studies) for aim, each in zip(aims, searched, strict=True)):
                held.enter_context(cluster.connected())
            for aim, each in zip(aims, searched, strict=True):
                _run(aim, each.studies, folders[aim.system], progress)
        finally:
            write_trials(out, searched)
            write_results(out)
        winners = _winners(aims, searched, out, chosen_by, progress)
        for winner in winners.values():
            write_winner(out, winner)
    return winners


def _chosen_by(aims: Sequence[Aim]) -> str:
    """Names what decides after the trials; empty where nothing does."""
    settings = aims[0].settings
    if not (settings.choosing or settings.mixing):
        return ""
    return fingerprint([settings.choosing, settings.mixing], [aim.scorer.id if aim.scorer else None for aim in aims])


def _winners(
    aims: Sequence[Aim], searched: Sequence[Searched], out: Path, chosen_by: str, progress: Progress
) -> dict[str, Winner]:
    names = aims[0].classes.names
    if not chosen_by:
        return {name: winner_of(name, searched) for name in names}
    plain = {name: winner_of(name, searched) for name in names}  # also finds out whether there is one
    if kept := _kept(out, plain):
        progress.say("chosen already: these trials on these terms")
        return kept
    finals: dict[str, dict[str, Final]] = {name: {} for name in names}
    rounds = [_last_round(aim, out) for aim in aims]
    for each, last in zip(searched, rounds, strict=True):
        for name, final in last.finals(_heads(each, names), progress).items():
            finals[name][each.system] = final
    for name, found in finals.items():
        write_choosing(out, name, found)
    mixing = aims[0].settings.mixing
    mixtures = rounds[0].mixtures(finals, mixing, progress) if mixing else {}
    return {name: winner_of(name, searched, finals[name], mixtures.get(name), chosen_by) for name in names}


def _kept(out: Path, plain: Mapping[str, Winner]) -> dict[str, Winner] | None:
    """The winners on disk where they stand on the trials that there are now."""
    with suppress(UserError):
        found = {name: read_winner(out, name) for name in plain}
        if all(found[name].trials == plain[name].trials for name in plain):
            return found
    return None


def _last_round(aim: Aim, out: Path) -> Round:
    return Round(aim.system, out, aim.store, aim.settings, aim.make, aim.scorer, aim.identity["embedder"])


def _heads(searched: Searched, names: Sequence[str]) -> dict[str, Head]:
    heads = {}
    for label, name in enumerate(names):
        if found := searched.contenders(name):
            number = searched.best_number(name)
            heads[name] = Head(label, found[0], number, searched.candidates[number])
    return heads


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
    budget = Budget(aim.settings, studies)
    left = budget.left(studies)
    if not left:
        progress.say(f"{aim.system} is searched already: {_so_far(studies)} in {folder}")
        return
    total = sum(study.num_trials for study in studies)
    done = total - sum(study.num_left for study in studies)
    if done:
        progress.say(f"the search of {aim.system} goes on: {done} of {total} trials were done")
    for study in left:
        study.resume()
    with progress.begin(f"search {aim.system}", total, "trials", done) as task:
        from foleyray.search.tuning import Studies, tune_studies

        def told(study: ClassStudy, fad: float) -> None:
            task.advance(1, f"{study.name} {fad:.2f}")

        check_machine(aim.settings)
        tune_studies(Studies(left, budget, aim.settings.concurrent, told), aim.make, aim.settings, folder)


def _so_far(studies: Sequence[ClassStudy]) -> str:
    counts = {len(study.tried()) for study in studies}
    return f"{min(counts)} trials of every class" if len(counts) == 1 else f"{min(counts)} to {max(counts)} trials a class"


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
