"""How few steps a latent diffusion needs: FAD of DPM-Solver++ over its steps, beside the papers' 200 stochastic steps of DDIM.

    python benchmarks/ldm_steps.py [--quick] [--embedder NAME] [--weights DIR] [--clips N] [RUN]

RUN is the folder of a `foleyray run` with ldm; without it, its tiny config is trained for a few minutes on the built-in corpus.
Every point makes clips of the same seeds, at the starting values of the other parameters, and is measured against `held_out`.
Prints a table and, as its last line, one JSON object: `fad_ddim_200` and `fad_dpm_20` (means over the classes, each with an
interval), `fad_dpm_<steps>` for the curve, `classes_within` (classes in which dpm_20 lies in the interval of ddim_200 or
below it), `work_ratio` (evaluations of the network, a clip), `seconds_ratio`, `clips` a class.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from foleyray import checkpoint
from foleyray.corpus.store import Store, open_store
from foleyray.generation.opening import contents_of, open_ensemble
from foleyray.generation.roster import Roster
from foleyray.metrics.embedder import find
from foleyray.metrics.scores import ClassScore
from foleyray.pipeline import build_corpus
from foleyray.progress import Quiet
from foleyray.search.evaluator import Evaluator, Params
from foleyray.system import Sampler, load_sampler, read_config
from foleyray.train.run import train

TINY = "systems/ldm/tiny.yaml"
REFERENCE, CHOSEN = ("ddim", 200), ("dpm", 20)
CURVE = (("dpm", 5), ("dpm", 10), ("dpm", 15), CHOSEN, ("dpm", 50), ("ddim", 20), REFERENCE)


def main() -> None:
    asked = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        run = asked.run or _trained(Path(folder), asked.quick)
        store, sampler = open_store(run / "corpus"), _sampler(run / "train")
        evaluator = Evaluator(
            lambda number: sampler,
            find(asked.embedder, asked.weights, "cpu"),
            lambda label: store.read("held_out", ["wave"], label=label)["wave"],
            store.clip.sample_rate_hz,
            batch_size=16,
        )
        points = {point: measure(evaluator, store, point, asked.clips) for point in CURVE}
    figures = summary(points) | {"clips": asked.clips, "embedder": asked.embedder}
    show(store, points)
    print(json.dumps(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--embedder", default="logmel")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--clips", type=int)
    asked = parser.parse_args()
    asked.clips = asked.clips or (4 if asked.quick else 16)
    return asked


def _trained(run: Path, quick: bool) -> Path:
    steps = {"clap": 100, "vae": 300, "ldm_pretrain": 300, "ldm_finetune": 300}
    overrides = [f"training.{stage}.steps={count // 10 if quick else count}" for stage, count in steps.items()]
    system, config = read_config(TINY, overrides)
    store = build_corpus("builtin", run / "corpus", config, 0.05, Quiet())
    train(system, config, store, run / "train", workers=0, progress=Quiet())
    return run


def _sampler(trained: Path) -> Sampler:
    """Of the newest ldm of the run."""
    runs = [found for folder in sorted((trained / "ldm_finetune").iterdir()) if (found := checkpoint.last(folder))]
    ensemble, place = open_ensemble(runs[-1].path)
    (checkpoints,) = contents_of(Roster(ensemble), place).checkpoints.values()
    return load_sampler(checkpoints, torch.device("cpu"))


def measure(evaluator: Evaluator, store: Store, point: tuple[str, int], clips: int) -> tuple[list[ClassScore], float]:
    """Scores by class, and seconds a clip."""
    solver, steps = point
    params: Params = {"solver": solver, "steps": steps}
    begun = time.perf_counter()
    scores = [evaluator.measure(label, 0, params, range(1, 2 * clips, 2), 0) for label in range(len(store.classes.names))]
    return scores, (time.perf_counter() - begun) / (clips * len(scores))


def summary(points: dict[tuple[str, int], tuple[list[ClassScore], float]]) -> dict[str, object]:
    """The figures of the docstring."""
    (ddim, slow), (dpm, fast) = points[REFERENCE], points[CHOSEN]
    figures: dict[str, object] = {}
    for (solver, steps), (scores, _) in points.items():
        mean, half = _mean(scores)
        figures[f"fad_{solver}_{steps}"] = round(mean, 2)
        figures[f"interval_{solver}_{steps}"] = [round(mean - half, 2), round(mean + half, 2)]
    within = sum(ours.fad <= theirs.interval[1] for ours, theirs in zip(dpm, ddim, strict=True))
    return figures | {
        "classes_within": within,
        "classes": len(dpm),
        "work_ratio": REFERENCE[1] / CHOSEN[1],
        "seconds_ratio": round(slow / fast, 2),
        "seconds_per_clip_dpm_20": round(fast, 3),
    }


def _mean(scores: Sequence[ClassScore]) -> tuple[float, float]:
    """The mean FAD of the classes, and half its interval: the classes' clips are drawn apart, so squares add."""
    halves = [(score.interval[1] - score.interval[0]) / 2 for score in scores]
    return sum(score.fad for score in scores) / len(scores), math.hypot(*halves) / len(scores)


def show(store: Store, points: dict[tuple[str, int], tuple[list[ClassScore], float]]) -> None:
    print("| solver, steps | " + " | ".join(store.classes.names) + " | mean | seconds a clip |")
    print("|---" * (len(store.classes.names) + 3) + "|")
    for (solver, steps), (scores, seconds) in points.items():
        cells = [f"{score.fad:.1f} ({score.interval[0]:.1f} .. {score.interval[1]:.1f})" for score in scores]
        mean, half = _mean(scores)
        print(f"| {solver}, {steps} | " + " | ".join(cells) + f" | {mean:.1f} (+- {half:.1f}) | {seconds:.2f} |")
    print(points[CHOSEN][0][0].caption())


if __name__ == "__main__":
    main()
