"""The tables that doors print: counts, scores, and what an ensemble is made of."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from foleyray.ensemble import MIXTURE, Ensemble, Evidence, Standing, overlap
from foleyray.terminal import console, warn

if TYPE_CHECKING:
    from foleyray.evaluation.judgement import Evaluation
    from foleyray.listening.table import Opinion, Opinions
    from foleyray.metrics.intervals import Measured
    from foleyray.metrics.papers import Printed

MADE = ["class", "system", "share", "checkpoints", "params", "selection"]
PROVEN = ["FAD", "interval", "KAD", "diversity", "runner-up", "clips", "reference"]
DISTANCES = [
    *("class", "FAD", "interval", "FAD, n to infinity", "clips", "reference", "frames"),
    *("left out", "nearest", "mean of others", "diversity"),
]
LIKENESS = ["class", "kad", "precision", "recall", "density", "coverage", "vendi"]
WAVES = ["class", "loudness dBFS", "silent", "roll-off Hz"]
WAVES_CAPTION = "silent: share of the frames under -60 dBFS; roll-off: below it lie 95 % of the power"
COPIES = ["class", "by embedding", "by mel", "by wave", "clips", "training", "not trained on"]
COPIES_CAPTION = (
    "share of the clips nearer to a training clip than 95 % of real clips that were not trained on; 0.05 is expected"
)
LIKENESS_CAPTION = "kad near 0: alike; precision and density: of the generated clips, recall and coverage: of the real ones"


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> None:
    """A table: the first column on the left, numbers on the right; rows are never wrapped away in a narrow pipe."""
    table = Table(title=title, caption=caption or None, title_justify="left", caption_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    target = console if console.is_terminal else Console(width=160)
    target.print(table, highlight=False, markup=False)


def print_counts(title: str, counts: Mapping[str, Mapping[str, int]], caption: str = "") -> None:
    """Rows of classes, columns of splits, from split -> class -> count."""
    classes = list(next(iter(counts.values())))
    rows: list[list[object]] = [[name, *(counts[split][name] for split in counts)] for name in classes]
    rows.append(["all", *(sum(counts[split].values()) for split in counts)])
    print_table(title, ["class", *counts], rows, caption)


def print_ensemble(folder: Path) -> None:
    """Who makes each class, and what was measured when it was promoted; with several systems, how each of them did."""
    ensemble = Ensemble.load(folder)
    proof = ensemble.proof(ensemble.class_list.names[0])
    rows = [row for name in ensemble.classes for row in _class_rows(ensemble, name)]
    columns = [*MADE, *PROVEN]
    hidden = {MADE.index(column) for column in ("share", "selection") if not any(row[MADE.index(column)] for row in rows)}
    shown = [[cell for place, cell in enumerate(row) if place not in hidden] for row in rows]
    columns = [column for place, column in enumerate(columns) if place not in hidden]
    print_table(str(folder / "ensemble.yaml"), columns, shown, _proof_caption(proof) if proof else "")
    if len(ensemble.systems) > 1 and proof:
        print_systems(ensemble, f"{proof.embedder}:{proof.recipe}, n {proof.num_clips}")


def _proof_caption(proof: Evidence) -> str:
    second = f"; KAD by {proof.second.embedder}:{proof.second.recipe}" if proof.second else ""
    label = f"; {proof.label}" if proof.label else ""
    return (
        f"FAD to {proof.reference} by {proof.embedder}:{proof.recipe}, 95 % interval by clip; tie: it overlaps the runner-up's"
        f"{second}; diversity over that of real clips{label}"
    )


def print_systems(ensemble: Ensemble, terms: str) -> None:
    """A row per class and a column per system: what the best point of each measured on held-out clips."""
    columns = [*([MIXTURE] if ensemble.mixtures else []), *ensemble.systems]
    rows = [[name, *_standings(ensemble.standings(name), columns)] for name in ensemble.classes]
    labels = {proof.label for name in ensemble.classes if (proof := ensemble.proof(name)) and proof.label}
    caption = (
        f"FAD to held_out by {terms}, 95 % interval by clip, of each system's best point. *: chosen, by the distance to the "
        f"{'same clips' if labels else 'reference split'}; tie: its interval overlaps the chosen one's; nearer: it lies below, "
        f"so the choice did not carry over{''.join(f'; {label}' for label in labels)}"
    )
    print_table("every system", ["class", *columns], rows, caption)


def _standings(standings: Mapping[str, Standing], columns: Sequence[str]) -> list[object]:
    return [
        f"{found.value:.2f} ({_interval(found.interval)}) {_MARKS[found.mark]}".rstrip()
        if (found := standings.get(column))
        else ("" if column == MIXTURE else "no distance")
        for column in columns
    ]


_MARKS = {"chosen": "*", "tie": "tie", "nearer": "nearer", "farther": ""}


def _class_rows(ensemble: Ensemble, name: str) -> Iterator[list[object]]:
    """The mixture of a class first, where it is one, then its members."""
    members = ensemble.classes[name]
    if mixture := ensemble.mixtures.get(name):
        yield [name, MIXTURE, "", "", "", "", *_proven(MIXTURE, mixture)]
    for member in members:
        share = f"{member.share:.0%}" if len(members) > 1 else ""
        params = (
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in member.params.items()
        )
        steps = ", ".join(f"{stage} {int(path.rpartition('-')[2])}" for stage, path in member.checkpoints.items())
        made_by = [member.system, share, steps, ", ".join(params), member.way_of_choosing]
        yield [name, *made_by, *_proven(member.system, member.evidence)]


def _proven(system: str, proof: Evidence | None) -> list[object]:
    if proof is None:
        return [""] * len(PROVEN)
    second = "" if proof.second is None else f"{proof.second.value:.2f} ({_interval(proof.second.interval)})"
    ratio = "" if proof.diversity_ratio is None else proof.diversity_ratio
    measured = [proof.value, _interval(proof.interval), second, ratio, _runner_up(system, proof)]
    return [*measured, proof.num_clips, proof.num_reference_clips]


def _runner_up(system: str, proof: Evidence) -> str:
    second = proof.runner_up
    if second is None:
        return ""
    of = "" if second.system == system else f" of {second.system}"
    return f"{second.value:.2f}{of}{' (tie)' if proof.is_tie else ''}"


def print_evaluation(found: "Evaluation") -> None:
    """The distances per class with their mean, what is measured clip by clip, copies, and every warning below."""
    print_table(f"{found.generated} against {found.reference}", DISTANCES, [*_distances(found)], _caption(found))
    if len(found.scores) > 1:
        print_table("every class (row) against every reference (column), FAD", ["class", *found.scores], [*_matrix(found)])
    if any(score.likeness for score in found.scores.values()):
        print_table("clip by clip", LIKENESS, [*_likeness(found)], LIKENESS_CAPTION)
    rows: list[list[object]] = [[n, w.loudness_dbfs, w.silent_share, w.rolloff_hz] for n, w in found.waves.items()]
    print_table("generated waves, medians by clip", WAVES, rows, WAVES_CAPTION)
    if found.clap_scores:
        print_table(
            "fit to the class's name", ["class", "CLAP score"], [[n, _measured(m)] for n, m in found.clap_scores.items()]
        )
    if found.copies:
        rows = [
            [name, *map(_measured, c.shares.values()), c.num_clips, c.num_training_clips, c.num_held_out_clips]
            for name, c in found.copies.items()
        ]
        print_table("too near to training clips", COPIES, rows, COPIES_CAPTION)
    for warning in found.warnings:
        warn(warning)


def _caption(found: "Evaluation") -> str:
    return next(iter(found.scores.values())).caption()


def _distances(found: "Evaluation") -> Iterator[list[object]]:
    for name, s in found.scores.items():
        limit = found.infinities[name]
        counts = [s.num_clips, s.num_reference_clips, s.num_frames]
        ratio = "" if s.diversity_ratio is None else s.diversity_ratio
        infinity = "" if limit.interval is None else f"{limit.value:.2f} ({_interval(limit.interval)})"
        others = "" if s.mean_other_fad is None else s.mean_other_fad
        yield [name, s.fad, _interval(s.interval), infinity, *counts, s.dropped_share, s.nearest_class, others, ratio]
    yield ["mean", found.mean, *[""] * (len(DISTANCES) - 2)]


def _matrix(found: "Evaluation") -> Iterator[list[object]]:
    for name, score in found.scores.items():
        yield [name, *(score.fad if other == name else score.other_fads[other] for other in found.scores)]


def _likeness(found: "Evaluation") -> Iterator[list[object]]:
    for name, score in found.scores.items():
        if score.likeness:
            yield [name, *(_measured(getattr(score.likeness, column)) for column in LIKENESS[1:])]


def _measured(found: "Measured") -> str:
    return f"{found.value:.2f} ({_interval(found.interval)})"


def print_comparison(found: "Evaluation", earlier: "Evaluation") -> None:
    """Two evaluations on equal terms, a row per class; a tie where their intervals overlap."""
    rows: list[list[object]] = []
    for name, one in found.scores.items():
        other = earlier.scores[name]
        nearer = "tie" if overlap(one.interval, other.interval) else "this" if one.fad < other.fad else "earlier"
        rows.append([name, one.fad, _interval(one.interval), other.fad, _interval(other.interval), nearer])
    rows.append(["mean", found.mean, "", earlier.mean, "", ""])
    columns = ["class", "FAD, this", "interval", "FAD, earlier", "interval", "nearer"]
    print_table(f"{found.generated} beside {earlier.generated}", columns, rows, "tie: the intervals overlap")


def print_papers(found: "Evaluation", papers: "Sequence[Printed]") -> None:
    """A row per system of the papers, and this one first."""
    names = list(found.scores)
    rows: list[list[object]] = [[found.generated, *(found.scores[name].fad for name in names), found.mean, ""]]
    for row in papers:
        values = [row.values.get(name, "") for name in names]
        rows.append([f"{row.system} {row.variant}".strip(), *values, "" if row.mean is None else row.mean, row.paper])
    print_table("beside the papers", ["system", *names, "mean", "paper"], rows, "the papers' values as they print them")


def print_opinions(found: "Opinions") -> None:
    """What listeners say: a row per system and class, and a system's mean below its classes."""
    rows: list[list[object]] = []
    for system, opinion in found.systems.items():
        for name, one in opinion.classes.items():
            rows.append([system, name, *_opinion(one), one.num_clips, one.num_raters])
        rows.append([system, "mean", *_opinion(opinion), "", ""])
    terms = "(2 Q + 2 F + D) / 5" if found.has_diversity else "(Q + F) / 2, without diversity"
    caption = f"WAS = {terms}; {len(found.raters)} raters, {found.num_ratings} scores; 95 % interval by rater and clip"
    columns = ["system", "class", "quality", "fit", "diversity", "WAS", "interval", "clips", "raters"]
    print_table(f"listening test {found.page}", columns, rows, caption)
    for warning in found.warnings:
        warn(warning)


def _opinion(one: "Opinion") -> list[object]:
    scores = [one.quality, one.fit, one.diversity, one.was]
    return [*("" if score is None else score for score in scores), _interval(one.interval) if one.interval else ""]


def _interval(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.2f} .. {interval[1]:.2f}"
