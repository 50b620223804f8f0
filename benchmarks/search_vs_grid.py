"""The search with early stopping against a grid over the same space: clips that each made, and what each found.

    python benchmarks/search_vs_grid.py [--quick] [--config YAML --corpus STORE --run RUN] [--set KEY=VALUE]
                                        [--embedder NAME] [--weights DIR] [--clips N] [--trials N] [--checkpoints N] [--out DIR]

The grid is `search.grid` of the config, as in the VIFS paper, at the newest `--checkpoints` (6) that the last stage has kept;
RUN is what `foleyray train` wrote. The search has the same checkpoints, parameters and clips a trial, and `--trials` a class.
The smallest of many noisy distances flatters, the grid's more than the search's; so the winners of both are measured again, on
fresh seeds (`search.promote_clips`, the same for both) against the clips they were chosen by. Without --config the tiny
contrastive system is trained on the built-in corpus for a few minutes. What OUT holds already is not tried again.

Prints a table and, as its last line, one JSON object: `best_fad_grid` and `best_fad_search` are means over the classes of what
was measured again, with the 95 % interval of the grid's; `found_fad_...` are those that the trials themselves had; `reached`
says whether the search lies below the upper end of the interval, `clips_ratio` how many times fewer clips its trials made.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import hypot
from pathlib import Path
from statistics import fmean
from typing import Any

from foleyray.cli.configs import read_entries
from foleyray.config import UserError
from foleyray.corpus.store import Store, open_store, read_lines
from foleyray.metrics.scores import ClassScore
from foleyray.pipeline import build_corpus
from foleyray.progress import Quiet
from foleyray.search.candidates import Trained, by_ids
from foleyray.search.config import SearchConfig
from foleyray.search.entries import Entry
from foleyray.search.evaluator import Maker
from foleyray.search.results import Winner
from foleyray.search.run import search
from foleyray.terminal import progress_for
from foleyray.train.run import train, trained

TINY = "systems/contrastive_gan/tiny.yaml"
TEN, FOUR = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0], [0.5, 0.7, 0.9, 1.0]


@dataclass(frozen=True)
class Side:
    """What one way of choosing made and found."""

    clips: int
    winners: Mapping[str, Winner]
    scores: Mapping[str, ClassScore]

    @property
    def found(self) -> float:
        return fmean(winner.fad for winner in self.winners.values())

    @property
    def mean(self) -> float:
        return fmean(score.fad for score in self.scores.values())

    @property
    def interval(self) -> tuple[float, float]:
        """Of the mean: the classes are independent of one another."""
        below, above = (
            hypot(*(score.interval[end] - score.fad for score in self.scores.values())) / len(self.scores) for end in (0, 1)
        )
        return self.mean - below, self.mean + above


def main() -> None:
    asked = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        out = asked.out or Path(folder)
        (entry,) = read_entries([asked.config or TINY], _overrides(asked), asked.embedder, asked.weights)
        if not entry.settings.grid:
            example = "--set 'search.grid=[{noise_scale: [0.5, 0.75, 1.0]}]'"
            raise UserError(f"{asked.config} has no search.grid to compare with; give one, such as {example}")
        store, checkpoints = _trained(entry, asked, out)
        changes: dict[str, Any] = {"trials": asked.trials, "checkpoints": asked.checkpoints}
        changes |= {"clips": asked.clips} if asked.clips else {}
        plan = entry.settings.model_dump() | changes
        ways = {"grid": plan, "search": plan | {"grid": ()}}
        sides = {
            way: measure(replace(entry, settings=SearchConfig.parse(settings, way)), store, checkpoints, out / way)
            for way, settings in ways.items()
        }
    show(**sides)
    print(json.dumps(figures(**sides)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--config")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--embedder")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--clips", type=int)
    parser.add_argument("--trials", type=int, default=SearchConfig().trials)
    parser.add_argument("--checkpoints", type=int, default=6)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[])
    asked = parser.parse_args()
    if bool(asked.config) != bool(asked.run and asked.corpus):
        parser.error("--config, --corpus and --run go together")
    return asked


def _overrides(asked: argparse.Namespace) -> list[str]:
    if asked.config:
        return list(asked.set)
    steps, clips, values = (60, 8, FOUR) if asked.quick else (900, 16, TEN)
    return [
        f"training.gan.steps={steps}",
        f"training.gan.checkpoint_every={steps // 6}",
        f"search.grid=[{{truncation: {values}}}]",
        f"search.clips={clips}",
        *asked.set,
    ]


def _trained(entry: Entry, asked: argparse.Namespace, out: Path) -> tuple[Store, Trained]:
    if asked.run:
        store = open_store(asked.corpus)
        return store, trained(asked.run, entry.system, entry.config, store)
    store = build_corpus("builtin", out / "corpus", entry.config, 0.05, Quiet())
    return store, train(entry.system, entry.config, store, out / "train", workers=0, progress=progress_for(quiet=False))


def measure(entry: Entry, store: Store, checkpoints: Trained, out: Path) -> Side:
    """Tries what is left to try; the winners are heard again on the seeds of a promotion."""
    progress = progress_for(quiet=False)
    winners = search([entry], {entry.system.name: checkpoints}, store, out, progress=progress)
    clips = sum(row["clips"] for row in read_lines(out / "trials.jsonl"))
    settings, chosen = entry.settings, [by_ids(winner.checkpoints, checkpoints) for winner in winners.values()]
    hear = Maker(entry.system, entry.config, chosen, settings, store.path, settings.split)()
    scores = {}
    with progress.begin(f"measure {out.name}", len(winners), "classes") as task:
        for label, (name, winner) in enumerate(winners.items()):
            scores[name] = hear.measure(label, label, winner.params, settings.clip_seeds("promotion"), resample_seed=0)
            task.advance(1, name)
    return Side(clips, winners, scores)


def show(grid: Side, search: Side) -> None:
    print("| class | grid found | grid, fresh seeds | search found | search, fresh seeds | grid chose | search chose |")
    print("|---|---|---|---|---|---|---|")
    for name in grid.scores:
        cells = [f"{side.winners[name].fad:.2f} | {_measured(side.scores[name])}" for side in (grid, search)]
        chosen = [_point(side.winners[name]) for side in (grid, search)]
        print(f"| {name} | {' | '.join([*cells, *chosen])} |")
    means = [
        f"{side.found:.2f} | {side.mean:.2f} ({side.interval[0]:.2f} .. {side.interval[1]:.2f})" for side in (grid, search)
    ]
    print(f"| mean | {' | '.join(means)} | | |")
    print(f"| clips | {grid.clips} | | {search.clips} | | | |")


def _measured(score: ClassScore) -> str:
    return f"{score.fad:.2f} ({score.interval[0]:.2f} .. {score.interval[1]:.2f})"


def _point(winner: Winner) -> str:
    step = list(winner.checkpoints.values())[-1].rpartition("-")[2].lstrip("0")
    params = (f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in winner.params.items())
    return ", ".join([step, *params])


def figures(grid: Side, search: Side) -> dict[str, object]:
    low, high = grid.interval
    return {
        "clips_ratio": round(grid.clips / search.clips, 2),
        "best_fad_grid": round(grid.mean, 3),
        "best_fad_grid_low": round(low, 3),
        "best_fad_grid_high": round(high, 3),
        "best_fad_search": round(search.mean, 3),
        "reached": search.mean <= high,
        "found_fad_grid": round(grid.found, 3),
        "found_fad_search": round(search.found, 3),
        "clips_grid": grid.clips,
        "clips_search": search.clips,
    }


if __name__ == "__main__":
    main()
