"""The commands that judge: distances, reference statistics, and the listening test."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foleyray.cli.app import app
from foleyray.cli.options import EmbedderName, Quiet, Weights
from foleyray.config import UserError
from foleyray.terminal import console, progress_for, say, warn

if TYPE_CHECKING:
    from foleyray.evaluation.embedding import Listening
    from foleyray.evaluation.judgement import Evaluation

Recipe = Annotated[str | None, typer.Option(help="Of the embedder, such as t7 of vggish; else its first")]
Processes = Annotated[int | None, typer.Option("--workers", min=0, help="Processes that listen; 0: this one, without Ray")]
PLACES = "A folder of sounds (per class, or named <Class>_...), a store, or STORE:held_out; REFERENCE also a statistics file"


@app.command()
def evaluate(
    places: Annotated[list[str] | None, typer.Argument(metavar="GENERATED REFERENCE", help=PLACES, show_default=False)] = None,
    embedder: EmbedderName = None,
    recipe: Recipe = None,
    weights: Weights = None,
    training: Annotated[Path | None, typer.Option(help="A store: look for copies of its training clips")] = None,
    against: Annotated[Path | None, typer.Option(help="An earlier evaluation (--json) to print beside this one")] = None,
    against_papers: Annotated[bool, typer.Option("--against-papers", help="Print the papers' numbers beside")] = False,
    ratings: Annotated[list[Path] | None, typer.Option(help="Files of a listening test: WAS instead of distances")] = None,
    key: Annotated[Path | None, typer.Option(help="The listening page's key; else the one beside the ratings")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the intervals")] = 0,
    workers: Processes = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object")] = False,
    quiet: Quiet = False,
) -> None:
    """How near sounds are to a reference, a row per class; or, with --ratings, what listeners say."""
    if ratings:
        # a shell's `--ratings ratings-*.json` leaves all but the first of them as places
        _print_ratings([*ratings, *map(Path, places or [])], key, seed, as_json)
        return
    if places is None or len(places) != 2:
        given = f"{len(places or [])} places"
        raise UserError(f"evaluate needs GENERATED and REFERENCE, found {given}; or --ratings FILES of a listening test")
    from foleyray.evaluation.judgement import Sides, check_alike, check_papers, load_evaluation
    from foleyray.evaluation.judgement import evaluate as evaluate_sides

    earlier = load_evaluation(against) if against else None
    sides, listening = Sides(places[0], places[1], training), _listening(embedder, recipe, weights, workers)
    if against_papers:
        check_papers(sides, listening)
    found = evaluate_sides(sides, listening, seed=seed, progress=progress_for(quiet))
    if earlier:
        check_alike(found, earlier)
    _print_evaluation(found, earlier, against_papers, as_json)


def _print_evaluation(found: "Evaluation", earlier: "Evaluation | None", against_papers: bool, as_json: bool) -> None:
    from foleyray.metrics.papers import beside
    from foleyray.tables import print_comparison, print_evaluation, print_papers

    papers = beside(found.scores, found.reference_embedder) if against_papers else []
    if as_json:
        console.out(found.model_dump_json(indent=1), highlight=False)
        return
    print_evaluation(found)
    if earlier:
        print_comparison(found, earlier)
    if papers:
        print_papers(found, papers)


@app.command()
def statistics(
    place: Annotated[str, typer.Argument(help="A folder of sounds, a store, or STORE:held_out")],
    out: Annotated[Path, typer.Option("--out", help="The statistics file to write, such as reference.npz")],
    embedder: EmbedderName = None,
    recipe: Recipe = None,
    weights: Weights = None,
    workers: Processes = None,
    quiet: Quiet = False,
) -> None:
    """Statistics of a reference as one file, which evaluate takes in place of the sounds; of any number of clips."""
    from foleyray.evaluation.embedding import reference_of
    from foleyray.evaluation.places import find_place
    from foleyray.metrics.reference import save_reference
    from foleyray.tables import print_table

    if out.suffix != ".npz":
        raise UserError(f"a statistics file ends in .npz, found '{out}'")
    classes = reference_of(find_place(place), _listening(embedder, recipe, weights, workers), progress_for(quiet))
    save_reference(out, classes)
    rows = [[name, part.num_clips, part.moments.count] for name, part in classes.items()]
    print_table(str(out), ["class", "clips", "frames"], rows, f"by {next(iter(classes.values())).embedder}")


@app.command()
def listen(
    evalset: Annotated[Path, typer.Argument(help="A folder per system with a folder per class, or one system's classes")],
    out: Annotated[Path, typer.Option("--out", help="The page to write, such as listen.html; its key lands beside it")],
    clips: Annotated[int | None, typer.Option("--clips-per-set", min=2, help="Of each class and system; else all")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order and of the clips drawn")] = 0,
    quiet: Quiet = False,
) -> None:
    """A blind rating page of one or several systems, for listeners to open in a browser."""
    from foleyray.listening.page import write

    written = write(evalset, out, seed=seed, clips_per_set=clips, progress=progress_for(quiet))
    for warning in written.warnings:
        warn(warning)
    say(f"{written.page}, and its key {written.key}: keep the key from listeners")


def _print_ratings(files: list[Path], key: Path | None, seed: int, as_json: bool) -> None:
    from foleyray.listening.table import was_table
    from foleyray.tables import print_opinions

    found = was_table(files, key=key, seed=seed)
    if as_json:
        console.out(found.model_dump_json(indent=1), highlight=False)
        return
    print_opinions(found)


def _listening(embedder: str | None, recipe: str | None, weights: Path | None, workers: int | None) -> "Listening":
    from foleyray.evaluation.embedding import Listening

    spec = embedder or "logmel"
    if recipe and ":" in spec:
        raise UserError(f"--embedder {spec} names a recipe already; leave --recipe {recipe} out")
    return Listening(f"{spec}:{recipe}" if recipe else spec, weights, workers)
