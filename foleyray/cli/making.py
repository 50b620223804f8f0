"""The commands that make things: stores, checkpoints, ensembles, sounds, a server."""

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from foleyray.cli.app import app
from foleyray.cli.configs import read_entries, read_systems
from foleyray.cli.options import (
    TINY,
    ConfigArguments,
    ConfigOption,
    ConfigOptions,
    EmbedderName,
    MaxRejected,
    Out,
    Overrides,
    Quiet,
    Weights,
    Workers,
)
from foleyray.config import UserError
from foleyray.selection import Pick
from foleyray.tables import print_counts, print_ensemble, print_table
from foleyray.terminal import progress_for, say


class Form(StrEnum):
    wav = "wav"
    flac = "flac"


@app.command()
def demo(out: Out = Path("runs/demo"), overrides: Overrides = None, workers: Workers = 1, quiet: Quiet = False) -> None:
    """The main job on the built-in corpus: corpus, train, search, promote, one sound of each class over HTTP, report."""
    from foleyray.corpus.builtin import SOURCE

    _run(SOURCE, out, ["demo.yaml"], overrides, workers, 0.05, None, None, quiet, sounds_over_http=True)


@app.command()
def run(
    corpus: Annotated[str, typer.Option(help="Recordings: a folder per class, a manifest, a URI, or 'builtin'")],
    out: Out,
    configs: ConfigOptions = None,
    overrides: Overrides = None,
    workers: Workers = 1,
    max_rejected: MaxRejected = 0.05,
    embedder: EmbedderName = None,
    weights: Weights = None,
    quiet: Quiet = False,
) -> None:
    """From recordings to an ensemble and a report; each finished phase is skipped on a second call.

    With several configs, the search chooses among their systems for each class; one that is added later finds the others done.
    """
    _run(corpus, out, configs or [TINY], overrides, workers, max_rejected, embedder, weights, quiet)


@app.command()
def corpus(
    source: Annotated[str, typer.Argument(help="A folder per class, a CSV or JSON-lines manifest, a URI, or 'builtin'")],
    out: Out,
    config: ConfigOption = TINY,
    max_rejected: MaxRejected = 0.05,
    quiet: Quiet = False,
) -> None:
    """Recordings into a store of equal clips with their mels, split by source recording."""
    from foleyray.pipeline import build_corpus
    from foleyray.system import read_config

    _, settings = read_config(config)
    store = build_corpus(source, out, settings, max_rejected, progress_for(quiet))
    print_counts(f"corpus {store.fingerprint} in {out}", store.counts, store.summary().sentence())


@app.command()
def train(
    configs: ConfigArguments,
    corpus: Annotated[Path, typer.Option(help="A store made by foleyray corpus")],
    out: Out,
    workers: Workers = 1,
    overrides: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Every stage of one or several systems, in order; goes on from the last checkpoint."""
    from foleyray.corpus.store import open_store
    from foleyray.train.job import checked_stages
    from foleyray.train.run import train as train_system

    systems, store = read_systems(configs, overrides or ()), open_store(corpus)
    for parts in systems:
        checked_stages(*parts, store)
    rows = []
    for system, config in systems:
        stages = train_system(system, config, store, out, workers=workers, progress=progress_for(quiet))
        rows += [[system.name, stage, steps[-1].card.step, steps[-1].path] for stage, steps in stages.items()]
    print_table("trained", ["system", "stage", "step", "checkpoint"], rows)


@app.command()
def search(
    configs: ConfigArguments,
    run: Annotated[Path, typer.Option(help="What foleyray train wrote")],
    out: Out,
    corpus: Annotated[Path | None, typer.Option(help="The store, where it is no longer where the run found it")] = None,
    overrides: Overrides = None,
    embedder: EmbedderName = None,
    weights: Weights = None,
    quiet: Quiet = False,
) -> None:
    """Per class, system, checkpoints and sampling parameters against FAD; winners, measured again, become an ensemble."""
    from foleyray.corpus.store import open_store
    from foleyray.search.promote import promote
    from foleyray.search.run import search as search_systems
    from foleyray.train.run import remembered_corpus, trained

    entries = read_entries(configs, overrides or (), embedder, weights)
    store = open_store(corpus or remembered_corpus(run))
    progress = progress_for(quiet)
    checkpoints = {entry.system.name: trained(run, entry.system, entry.config, store) for entry in entries}
    search_systems(entries, checkpoints, store, out, progress=progress)
    promote(entries, checkpoints, store, out, out, progress=progress)
    print_ensemble(out)


@app.command()
def generate(
    source: Annotated[str, typer.Argument(metavar="ENSEMBLE|CHECKPOINT", help="An ensemble's folder, or a checkpoint's")],
    out: Out,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class, may be repeated; without it: every class, or with a prompt none"),
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="What to make, in words, where a system takes them")] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=100_000, help="Sounds per class, or of the prompt")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first sound; the next ones count on")] = 0,
    form: Annotated[Form, typer.Option("--format")] = Form.wav,
    params: Annotated[list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="A sampling parameter")] = None,
    quiet: Quiet = False,
) -> None:
    """Sounds from an ensemble or a checkpoint, with no server."""
    from foleyray.generation import consecutive, open_generator, write_sounds

    generator = open_generator(source)
    names = classes or ([] if prompt is not None else generator.classes.names)
    labels: list[int | None] = [generator.classes.index(name) for name in names] or [None]
    values = _read_values(params or [])
    requests = [request for label in labels for request in consecutive(label, seed, count, values, prompt)]
    written = write_sounds(generator, requests, out, form.value, progress_for(quiet))
    if written.picks:
        _print_picks(written.picks)
    say(f"{len(written.files)} sounds in {out}")


@app.command()
def serve(
    ensemble: Annotated[str, typer.Argument(help="An ensemble's folder or its ensemble.yaml")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on; the default answers this machine alone")] = "127.0.0.1",
) -> None:
    """The ensemble over HTTP, until interrupted."""
    import threading

    from foleyray.serving.app import served

    with served(ensemble, host=host, port=port) as url:
        say(f"serving {ensemble} on {url}  (page: {url}/docs, stop: Ctrl-C)")
        threading.Event().wait()


def _run(
    corpus: str,
    out: Path,
    configs: list[str],
    overrides: list[str] | None,
    workers: int,
    max_rejected: float,
    embedder: str | None,
    weights: Path | None,
    quiet: bool,
    sounds_over_http: bool = False,
) -> None:
    from foleyray.pipeline import Plan
    from foleyray.pipeline import run as run_plan

    entries = read_entries(configs, overrides or (), embedder, weights)
    plan = Plan(corpus, out, entries, workers, max_rejected, _argv(), sounds_over_http)
    page = run_plan(plan, progress_for(quiet))
    print_ensemble(out)
    say(f"report: {page}")


def _print_picks(picks: Mapping[str, Sequence[Pick]]) -> None:
    rows = [
        [
            name,
            len(chosen),
            f"{sum(pick.accepted for pick in chosen) / len(chosen):.0%}",
            f"{sum(pick.made for pick in chosen) / len(chosen):.1f}",
            sum(pick.score for pick in chosen) / len(chosen),
        ]
        for name, chosen in picks.items()
    ]
    caption = "accepted: share whose likeness reached the threshold, the others are the best of all that were made"
    print_table("selection", ["class", "sounds", "accepted", "made per sound", "mean likeness"], rows, caption)


def _read_values(params: Sequence[str]) -> dict[str, float | int | str]:
    """`truncation=0.8` -> {"truncation": 0.8}; the system says later whether name and value fit."""
    from yaml import safe_load

    values = {}
    for param in params:
        name, equals, value = param.partition("=")
        if not equals:
            raise UserError(f"parameter '{param}' has no '='; write it as NAME=VALUE, such as truncation=0.8")
        values[name] = safe_load(value)
    return values


def _argv() -> list[str]:
    return ["foleyray", *sys.argv[1:]]
