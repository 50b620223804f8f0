"""What each step of Surrey's system brings: class label, text, selection (filter) and the tuning layer, one after the other.

    python benchmarks/ldm_ablation.py [--quick] [--corpus STORE] [--run RUN] [--embedder NAME] [--weights DIR] [--set KEY=VALUE]

The four rows share CLAP, VAE and pre-training; each has a fine-tuning of its own, but the filter is the row `text` with its
sounds chosen. Every row sounds at its starting values, with texture or without. Which of the two, thresholds and counts are
chosen on the `reference` split; the distances are of fresh seeds to `held_out`. Without --corpus the built-in corpus is
trained on for a few minutes. Training and measurements in RUN are not done again. Prints a table and, as its last line, one
JSON object: the mean FAD of each row, `best_row`, `clips` a class.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from foleyray.config import read_yaml
from foleyray.corpus.store import Store, open_store
from foleyray.ensemble import Ensemble, Evidence
from foleyray.pipeline import build_corpus
from foleyray.progress import Quiet
from foleyray.search.config import SearchConfig
from foleyray.search.entries import Entry
from foleyray.search.promote import promote
from foleyray.search.run import search
from foleyray.system import read_config
from foleyray.terminal import progress_for
from foleyray.train.run import train

TINY = "systems/ldm/tiny.yaml"
ROWS = {"label": ("label", False), "text": ("text", False), "filter": ("text", True), "tuned": ("tuned", True)}
"""Row -> its condition, and whether its sounds are chosen."""
CHOOSING = {"requests": 16, "candidates": 5, "counts": [1, 2, 3, 5], "thresholds": 50}


def main() -> None:
    asked = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        run = asked.run or Path(folder)
        quick = [f"training.{stage}.steps=20" for stage in ("clap", "vae", "ldm_pretrain", "ldm_finetune")]
        overrides = [*asked.set, *(quick if asked.quick else [])]
        store = open_store(asked.corpus) if asked.corpus else _builtin(run, overrides)
        rows = {row: measure(row, store, run, overrides, asked) for row in ROWS}
    show(store, rows)
    means = {row: sum(one.value for one in found) / len(found) for row, found in rows.items()}
    figures = {f"fad_{row}": round(mean, 2) for row, mean in means.items()}
    print(json.dumps(figures | {"best_row": min(means, key=lambda row: means[row]), "clips": asked.clips}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--embedder", default="logmel")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--clips", type=int)
    parser.add_argument("--set", action="append", default=[])
    asked = parser.parse_args()
    asked.clips = asked.clips or (6 if asked.quick else 32)
    return asked


def _builtin(run: Path, overrides: Sequence[str]) -> Store:
    return build_corpus("builtin", run / "corpus", read_config(TINY, overrides)[1], 0.05, Quiet())


def measure(row: str, store: Store, run: Path, overrides: Sequence[str], asked: argparse.Namespace) -> list[Evidence]:
    """Trains what is missing of a row, chooses its sounds and measures them; one proof a class."""
    condition, chosen = ROWS[row]
    system, config = read_config(TINY, [*overrides, f"condition={condition}"])
    settings = SearchConfig.parse(
        read_yaml(TINY).get("search", {})
        | {"trials": 2, "clips": 16, "checkpoints": 1, "promote_clips": asked.clips}
        | {"embedder": asked.embedder, "weights": asked.weights and str(asked.weights)}
        | ({"choosing": CHOOSING} if chosen else {}),
        TINY,
    )
    progress = progress_for(quiet=False)
    trained = {system.name: train(system, config, store, run / "train", workers=0, progress=progress)}
    entry, folder = Entry(system, config, settings), run / "ablation" / row
    search([entry], trained, store, folder / "search", progress=progress)
    ensemble: Ensemble = promote([entry], trained, store, folder / "search", folder, progress=progress)
    proofs = [ensemble.classes[name][0].evidence for name in store.classes.names]
    return [proof for proof in proofs if proof is not None]


def show(store: Store, rows: dict[str, list[Evidence]]) -> None:
    print("| row | " + " | ".join(store.classes.names) + " | mean | diversity / real | sounds made for one |")
    print("|---" * (len(store.classes.names) + 4) + "|")
    for row, proofs in rows.items():
        cells = [f"{one.value:.1f} ({one.interval[0]:.0f} .. {one.interval[1]:.0f})" for one in proofs]
        mean = sum(one.value for one in proofs) / len(proofs)
        ratios = [one.diversity_ratio for one in proofs if one.diversity_ratio is not None]
        made = sum(one.made_per_sound or 1 for one in proofs) / len(proofs)
        diversity = f"{sum(ratios) / len(ratios):.2f}" if ratios else "-"
        print(f"| {row} | " + " | ".join(cells) + f" | {mean:.1f} | {diversity} | {made:.1f} |")


if __name__ == "__main__":
    main()
