"""`report.html`: one self-contained page about a run, with its sounds and pictures inside. It loads nothing.

What is shown is gathered by the other files of this room; here it is put in order and written.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from foleyray import __version__
from foleyray.corpus.store import Store
from foleyray.ensemble import Ensemble
from foleyray.files import write_whole
from foleyray.generation import EnsembleSampler
from foleyray.metrics.embedder import find
from foleyray.progress import Progress
from foleyray.report import facts, pictures, sounds, tables
from foleyray.report.anchors import anchors_of, fresh_seed
from foleyray.report.figures import breakable, duration, number
from foleyray.report.scores import Anchors
from foleyray.search.config import SearchConfig
from foleyray.search.table import Results, results_of

SECTIONS = {
    "sounds": "Sounds",
    "distances": "Distances",
    "search": "Search",
    "training": "Training",
    "corpus": "Corpus",
    "timings": "Timings",
    "command": "Command and versions",
}
MOST_REJECTED = 200
"""Rows of the table of rejected files; the rest is counted."""


@dataclass(frozen=True)
class Block:
    """One class among the sounds: players by side, and how the generated ones are made."""

    name: str
    headline: str
    sides: list[tuple[str, str, list[sounds.Player]]]
    recipe: list[tuple[str, str]]


@dataclass(frozen=True)
class Figure:
    """A picture of curves, with the words around it and the names of its lines."""

    name: str
    words: str
    lines: list[str]
    picture: Markup


def write(run: Path, *, store: Store, settings: SearchConfig, progress: Progress) -> Path:
    """Writes `report.html` of the run and, where an ensemble was promoted, `scores.json` beside it; returns the page's path.

    Parts that the run has not come to yet are named as missing. Raises UserError where the embedder or a checkpoint of the
    ensemble is missing.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator, anchors = None, None
    if (run / "ensemble.yaml").is_file():
        generator = EnsembleSampler.load(run, device, max_batch=settings.batch_size)
        embedder = find(settings.embedder, settings.weights, device)
        anchors = anchors_of(run, generator, store, embedder, settings, device, progress)
    blocks = _blocks(store, generator, anchors, fresh_seed(settings), progress)
    ensemble = generator.roster.ensemble if generator else None
    made = {"blocks": blocks, "kinships": tables.kinships(generator) if generator else [], "is_generating": bool(generator)}
    page = _render(_context(run, store, anchors) | _makers(ensemble) | made)
    write_whole(run / "report.html", page)
    return run / "report.html"


def _render(context: Mapping[str, Any]) -> str:
    room = files("foleyray.report")
    style, script = (room.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"number": number, "duration": duration, "breakable": breakable, "csv_link": _csv_link}
    template = environment.from_string(room.joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(context, style=Markup(style), script=Markup(script), policy=Markup(policy))


def _csv_link(results: Results) -> str:
    """The table as a file inside the page."""
    return f"data:text/csv;base64,{base64.b64encode(results.csv().encode()).decode()}"


def _context(run: Path, store: Store, anchors: Anchors | None) -> dict[str, Any]:
    histories, timings = _histories(run), facts.timings(run)
    strip = tables.strip(anchors) if anchors else None
    return {
        "title": run.resolve().name,
        "lead": _lead(store, anchors, bool(histories)),
        "verdict": _verdict(anchors),
        "sections": SECTIONS,
        "range_db": pictures.RANGE_DB,
        "num_lines": pictures.NUM_LINES,
        "store": store,
        "warned": [row for row in store.manifest if row.get("warning")],
        "most_rejected": MOST_REJECTED,
        "anchors": anchors,
        "means": tables.means(anchors) if anchors else [],
        "rows": tables.rows(anchors, strip) if anchors and strip else [],
        "ticks": strip.ticks() if strip else [],
        "histories": histories,
        "results": results_of(run / "search"),
        "curves": _curves(run),
        "timings": timings,
        "longest": max(timings.values(), default=0.0),
        "command": facts.command(run),
        "version": __version__,
        "written": datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    }


def _makers(ensemble: Ensemble | None) -> dict[str, Any]:
    """Which systems make each class, and how each system did where there were several."""
    classes = ensemble.classes if ensemble else {}
    return {
        "makers": {name: " and ".join(dict.fromkeys(each.system for each in members)) for name, members in classes.items()},
        "systems": tables.systems(ensemble) if ensemble else [],
        "leaderboard": tables.leaderboard(ensemble) if ensemble else [],
        "proofs": tables.proofs(ensemble) if ensemble else [],
    }


def _lead(store: Store, anchors: Anchors | None, is_searched: bool) -> str:
    clips = f"{sum(store.counts['train'].values()):,} clips of {number(store.clip.seconds)} s"
    began = f"Generators of {len(store.classes.names)} classes of sound, for which the corpus has {clips} to train on"
    chosen = "a search chose a system, its checkpoints and sampling parameters for each class"
    if anchors:
        return f"{began}; {chosen}, and the winners were measured on recordings that neither training nor search had seen."
    return f"{began}; {chosen}." if is_searched else f"{began}. No search has chosen among them yet."


def _verdict(anchors: Anchors | None) -> str:
    if anchors is None:
        return "There is nothing to judge yet: no ensemble has been promoted."
    untrained, noise, real = (number(anchors.mean(kind)) for kind in ("untrained", "noise", "real"))
    beside = f"{noise} for white noise and {real} between real recordings"
    if anchors.mean("untrained") is not None:
        beside = f"{untrained} for the untrained generator, {beside}"
    return (
        f"{anchors.num_nearer} of {len(anchors.classes)} classes lie nearer to their own recordings than to the mean of the "
        f"other classes. Mean Fréchet audio distance (FAD) {number(anchors.mean('generated'))}, against {beside}."
    )


def _blocks(
    store: Store, generator: EnsembleSampler | None, anchors: Anchors | None, seed: int, progress: Progress
) -> list[Block]:
    blocks = []
    with progress.begin("report", len(store.classes.names), "classes") as task:
        for label, name in enumerate(store.classes.names):
            blocks.append(_block(store, generator, anchors, label, seed))
            task.advance(1, name)
    return blocks


def _block(store: Store, generator: EnsembleSampler | None, anchors: Anchors | None, label: int, seed: int) -> Block:
    name, headline = store.classes.names[label], ""
    heard = sounds.generated_sounds(generator, label, seed) if generator else []
    made, real = sounds.players([heard, sounds.real_sounds(store, label)], store.clip, store.mel)
    if anchors:
        found = anchors.classes[name].generated
        headline = f"FAD {number(found.fad)} to its own class, {number(found.mean_other_fad)} to the mean of the others"
    recipe = sounds.recipe(generator.roster.ensemble.classes[name]) if generator else []
    return Block(name, headline, [("made", "Generated", made), ("real", "Real recordings", real)], recipe)


def _histories(run: Path) -> list[Figure]:
    """One picture a class; a class whose trials have no distance at all has none."""
    found = facts.trials(run / "search").items()
    return [_history(index, name, trials) for index, (name, trials) in enumerate(found) if any(_finished(trials))]


def _history(index: int, name: str, trials: Sequence[facts.Trial]) -> Figure:
    best = min(_finished(trials), key=lambda trial: trial.fad)
    stopped = sum(trial.is_stopped for trial in trials)
    counted = f"{len(trials)} trials" + (f", {stopped} stopped early" if stopped else "")
    systems = {system: list(own) for system, own in groupby(trials, key=lambda trial: trial.system)}
    several = list(systems) if len(systems) > 1 else []
    where = f"trial {best.number}" + (f" of {best.system}" if several else "")
    series = [[(t.number, t.fad, not t.is_stopped) for t in own] for own in systems.values()]
    picture = pictures.search_history(series, f"search-{index}")
    return Figure(name, f"{counted}; best {number(best.fad)} at {where}", several, picture)


def _finished(trials: Sequence[facts.Trial]) -> list[facts.Trial]:
    return [trial for trial in trials if not trial.is_stopped and isfinite(trial.fad)]


def _curves(run: Path) -> list[Figure]:
    return [
        Figure(
            name=stage,
            words=f"{max(curve.steps[-1] for curve in curves):,.0f} steps",
            lines=[curve.name for curve in curves],
            picture=pictures.loss_curves(
                [curve.steps for curve in curves], [curve.values for curve in curves], f"training-{index}"
            ),
        )
        for index, (stage, curves) in enumerate(facts.losses(run / "train").items())
    ]
