"""The whole road as phases: corpus, train, search, promote, sounds, report. A finished phase is skipped when asked again.

Each phase's record in `timings.json` holds a key of everything that went into it; the phase is done when the key still
fits. What a phase does, and how it goes on after an interruption, is its own room's business.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import ProxyHandler, Request, build_opener

from foleyray import __version__, cluster
from foleyray.checkpoint import source_commit
from foleyray.config import fingerprint
from foleyray.corpus import builtin
from foleyray.corpus.build import build
from foleyray.corpus.store import Store
from foleyray.ensemble import Ensemble
from foleyray.files import write_whole
from foleyray.progress import Progress
from foleyray.report.page import write as write_report
from foleyray.search.candidates import Trained
from foleyray.search.entries import Entry
from foleyray.search.promote import promote
from foleyray.search.run import search
from foleyray.serving.app import served
from foleyray.system import SystemConfig
from foleyray.train.job import checked_stages
from foleyray.train.run import train, trained

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What a run is made of. `source` is a folder, a manifest, a URI, or `builtin`."""

    source: str
    out: Path
    entries: Sequence[Entry]
    workers: int
    max_rejected: float
    argv: Sequence[str]
    sounds_over_http: bool = False


def run(plan: Plan, progress: Progress) -> Path:
    """From recordings to `report.html`; returns its path. Raises UserError for what the user can mend."""
    plan.out.mkdir(parents=True, exist_ok=True)
    _write_command(plan)
    with ExitStack() as stack:
        diary = Diary(plan.out / "timings.json", progress, lambda: stack.enter_context(cluster.connected()))
        return _phases(plan, diary, progress)


def _phases(plan: Plan, diary: "Diary", progress: Progress) -> Path:
    entries = plan.entries
    store = diary.always("corpus", lambda: _corpus(plan, progress))
    for entry in entries:
        checked_stages(entry.system, entry.config, store)
    made = {entry.system.name: _trained(plan, entry, store, diary, progress) for entry in entries}
    key = fingerprint(store.fingerprint, *([entry.config, entry.settings] for entry in entries))
    searched = plan.out / "search"
    diary.once("search", key, lambda: search(entries, made, store, searched, progress=progress))
    diary.once("promote", key, lambda: promote(entries, made, store, searched, plan.out, progress=progress))
    ensemble = Ensemble.load(plan.out)
    if plan.sounds_over_http:
        diary.once("serve", ensemble.id, lambda: ask_for_each_class(plan.out, plan.out / "sounds", progress))
    key = fingerprint(key, ensemble.id, __version__)
    settings = min((entry.settings for entry in entries), key=lambda settings: settings.batch_size)
    diary.once("report", key, lambda: write_report(plan.out, store=store, settings=settings, progress=progress))
    return plan.out / "report.html"


def _trained(plan: Plan, entry: Entry, store: Store, diary: "Diary", progress: Progress) -> Trained:
    """Trains one system; every system has a phase of its own, so that one more leaves the others alone."""
    parts, folder = (entry.system, entry.config, store), plan.out / "train"
    key = fingerprint(store.fingerprint, entry.config)
    diary.once(f"train {entry.system.name}", key, lambda: train(*parts, folder, workers=plan.workers, progress=progress))
    return trained(folder, *parts)


def _corpus(plan: Plan, progress: Progress) -> Store:
    return build_corpus(plan.source, plan.out / "corpus", plan.entries[0].config, plan.max_rejected, progress)


def build_corpus(source: str, out: Path, config: SystemConfig, max_rejected: float, progress: Progress) -> Store:
    """The store of a source in the clip and mel of a system; the built-in corpus is first written as WAV files beside it."""
    if source == builtin.SOURCE:
        source = str(builtin.write_builtin(out.with_name(out.name + ".recordings"), progress=progress))
    return build(source, out, clip=config.clip, mel=config.mel, max_rejected=max_rejected, progress=progress)


class Diary:
    """The phases that are done, with their keys and seconds, in one small file that is always whole."""

    def __init__(self, file: Path, progress: Progress, before: Callable[[], object]) -> None:
        """`before` runs ahead of the first phase that has work, so that skipping everything starts no Ray."""
        self.file, self.progress, self.before = file, progress, before
        self.records: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}

    def once(self, phase: str, key: str, work: Callable[[], object]) -> None:
        """Does the work unless the phase is recorded as finished with this key."""
        done = self.records.get(phase, {})
        if done.get("key") == key:
            self.progress.say(f"{phase}: finished {done['finished']} in {done['seconds']:.0f} s, skipped")
            return
        self.before()
        began = time.monotonic()
        work()
        self._record(phase, key, time.monotonic() - began)

    def always(self, phase: str, work: Callable[[], T]) -> T:
        """Does work that itself knows whether there is anything to do; keeps the longest time it took."""
        began = time.monotonic()
        result = work()
        self._record(phase, "", max(time.monotonic() - began, self.records.get(phase, {}).get("seconds", 0.0)))
        return result

    def _record(self, phase: str, key: str, seconds: float) -> None:
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        self.records[phase] = {"key": key, "seconds": round(seconds, 1), "finished": finished}
        write_whole(self.file, json.dumps(self.records, indent=1))
        self.progress.say(f"{phase}: {seconds:.0f} s")


def _write_command(plan: Plan) -> None:
    packages = ("foleyray", "torch", "torchaudio", "ray", "optuna", "numpy", "librosa")
    (plan.out / "command.json").write_text(
        json.dumps(
            {
                "argv": list(plan.argv),
                "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "commit": source_commit(),
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            indent=1,
        )
    )


def ask_for_each_class(ensemble: Path, folder: Path, progress: Progress) -> None:
    """Serves the ensemble on loopback, asks over HTTP for one sound of each class, saves them and stops the server."""
    names = Ensemble.load(ensemble).class_list.names
    folder.mkdir(exist_ok=True)
    direct = build_opener(ProxyHandler({}))
    with served(ensemble, host="127.0.0.1", port=0) as url, progress.begin("sounds over HTTP", len(names), "sounds") as task:
        for name in names:
            body = json.dumps({"class": name, "seed": 0}).encode()
            request = Request(f"{url}/v1/sounds", body, {"Content-Type": "application/json"})
            with direct.open(request, timeout=120) as answer:
                (folder / f"{name}.wav").write_bytes(answer.read())
            task.advance(1, name)
