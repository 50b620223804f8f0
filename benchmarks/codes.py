"""How well a tokenizer and its prior know clips that they were not trained on, beside models that know next to nothing.

    python benchmarks/codes.py [--quick] [RUN]

RUN is the folder of a `foleyray run` with vqvae_pixelsnail; without it, its tiny config is trained for a few minutes on the
built-in corpus. All figures are of the `held_out` split. Prints a table and, as its last line, one JSON object: `clips`, `mse`
of the reconstructed log-mels and their `variance`, `perplexity` and `used_words` of the codes; in nats a code `uniform`,
`unigram` and `unigram_of_class` (counts of the training split, one added to each), and `prior`; `prior_accuracy`.
"""

import json
import math
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from foleyray import checkpoint
from foleyray.checkpoint import Checkpoint
from foleyray.corpus.feed import batches
from foleyray.corpus.store import Store, open_store
from foleyray.modules.vq import usage
from foleyray.pipeline import build_corpus
from foleyray.progress import Quiet
from foleyray.stage import Stage, Step
from foleyray.system import find, read_config
from foleyray.train.run import train

SPLIT = "held_out"
TINY = "systems/vqvae_pixelsnail/tiny.yaml"


def main() -> None:
    paths = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("--")]
    with tempfile.TemporaryDirectory() as folder:
        run = paths[0] if paths else _trained(Path(folder), quick="--quick" in sys.argv)
        figures = measure(open_store(run / "corpus"), run / "train")
    for name, value in figures.items():
        print(f"  {name:18s} {value:10.4f}")
    print(json.dumps(figures))


def _trained(run: Path, quick: bool) -> Path:
    steps = 100 if quick else 600
    system, config = read_config(TINY, [f"training.{stage}.steps={steps}" for stage in ("tokenizer", "prior")])
    store = build_corpus("builtin", run / "corpus", config, 0.05, Quiet())
    train(system, config, store, run / "train", workers=0, progress=Quiet())
    return run


def measure(store: Store, trained: Path) -> dict[str, float]:
    prior = _newest(trained / "prior")
    tokenizer = checkpoint.load(trained / prior.card.needs["tokenizer"])
    codes = _column(trained / "codes", tokenizer)
    system = find("vqvae_pixelsnail")
    stages = {stage.name: stage for stage in system.stages(system.config.parse(prior.card.config, "card"), store.classes)}
    of_mels = _validated(stages["tokenizer"], tokenizer, store)
    of_codes = _validated(stages["prior"], prior, codes)
    known, met = (codes.read(split, ["codes", "label"]) for split in ("train", SPLIT))
    words = stages["prior"].words  # type: ignore[attr-defined]
    perplexity, used_words = usage(torch.from_numpy(met["codes"]).long(), words)
    known_codes, met_codes = (torch.from_numpy(rows["codes"]).long().flatten(1) for rows in (known, met))
    of_class = [
        _unigram(known_codes[known["label"] == label], met_codes[met["label"] == label], words)
        for label in range(len(store.classes.names))
    ]
    return {
        "clips": len(met["label"]),
        "mse": of_mels["mse"],
        "variance": float(store.read(SPLIT, ["mel"])["mel"].astype("float64").var()),
        "perplexity": float(perplexity),
        "used_words": float(used_words),
        "uniform": math.log(words),
        "unigram": float(_unigram(known_codes, met_codes, words).mean()),
        "unigram_of_class": float(torch.cat(of_class).mean()),
        "prior": of_codes["loss"],
        "prior_accuracy": of_codes["accuracy"],
    }


def _newest(folder: Path) -> Checkpoint:
    """The prior that was trained last."""
    return max((step for run in folder.iterdir() if (step := checkpoint.last(run))), key=lambda step: step.path.stat().st_mtime)


def _column(folder: Path, tokenizer: Checkpoint) -> Store:
    stores = [open_store(path) for path in folder.iterdir() if (path / "store.json").exists()]
    return next(store for store in stores if store.card.made["codes"].made_by == tokenizer.id)


@torch.inference_mode()
def _validated(stage: Stage, saved: Checkpoint, store: Store) -> dict[str, float]:
    """Mean losses of a trained stage."""
    nets = saved.restore(stage.build({})).eval()
    sums: dict[str, float] = {}
    for batch in batches(store.stream(SPLIT, [*stage.reads, "label"], num_rows=16), stage.reads):
        size = len(next(iter(batch.values())))
        for name, value in stage.validate(nets, batch, Step(0, 1, torch.Generator())).items():
            sums[name] = sums.get(name, 0.0) + float(value) * size
    return {name: value / store.num_clips(SPLIT) for name, value in sums.items()}


def _unigram(known: Tensor, met: Tensor, words: int) -> Tensor:
    """codes (N, places) -> nats of every code that is met (M * places,), by how often it is known to occur."""
    counts = torch.bincount(known.flatten(), minlength=words).double() + 1
    return -(counts / counts.sum()).log()[met.flatten()]


if __name__ == "__main__":
    main()
