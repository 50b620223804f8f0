"""Clips per second from WAV files to the training batch: store, Ray Data and feed against a plain per-file loop.

    python benchmarks/corpus_stream.py [--quick]

Both give the same batches (wave float32, log-mel float32, label) from the same files, in one run, each in one process
with one thread of torch (Ray's workers, which only make and read the store, apart). The plain loop is a DataLoader whose
items decode a file and compute its mel, every epoch anew. Ours pays once for the store (reported apart, Ray's start
included) and once for reading it (epoch 1). The last line is one JSON object.
"""

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")

from foleyray.audio.mel import Mel
from foleyray.clips import DCASE7, ClipSpec, MelSpec
from foleyray.cluster import connected
from foleyray.corpus.build import build
from foleyray.corpus.feed import Feed
from foleyray.corpus.store import Store
from foleyray.progress import Quiet
from foleyray.stage import Batch

BATCH_SIZE = 64
CLIP, MEL = ClipSpec(), MelSpec()
WHOLE, MEL_ONLY = ("wave", "mel", "label"), ("mel", "label")


class Files(Dataset[Batch]):
    """One WAV file an item: decoded, and its mel computed, whenever it is asked for."""

    def __init__(self, files: list[Path], labels: list[int]) -> None:
        self.files, self.labels = files, labels
        self.mel = Mel(MEL)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Batch:
        wave = torch.from_numpy(soundfile.read(self.files[index], dtype="float32")[0])
        return {"wave": wave, "mel": self.mel(wave[None])[0], "label": torch.tensor(self.labels[index])}


def write_recordings(folder: Path, num_clips: int) -> None:
    """Seeded decaying tones in noise, 4 s at 22,050 Hz and 16 bits, in the folders of seven classes."""
    seconds = np.arange(CLIP.num_samples) / CLIP.sample_rate_hz
    for index in range(num_clips):
        rng = np.random.default_rng(index)
        name = DCASE7.names[index % len(DCASE7.names)]
        tone = np.sin(2 * np.pi * rng.uniform(80, 2000) * seconds) * np.exp(-seconds * rng.uniform(0.2, 4))
        (folder / name).mkdir(parents=True, exist_ok=True)
        wave = 0.5 * tone + 0.05 * rng.standard_normal(len(seconds))
        soundfile.write(folder / name / f"{index:05d}.wav", wave, CLIP.sample_rate_hz, subtype="PCM_16")


def plain_epochs(store: Store, source: Path, epochs: int) -> list[float]:
    """Clips per second of each epoch of the plain loop over the training files."""
    rows = [row for row in store.manifest if row["split"] == "train"]
    files = Files([source / row["path"] for row in rows], [store.classes.index(row["class"]) for row in rows])
    loader = DataLoader(files, BATCH_SIZE, shuffle=True, generator=torch.Generator().manual_seed(0))
    return [_rate(lambda: iter(loader), len(rows)) for _ in range(epochs)]


def feed_epochs(store: Store, columns: tuple[str, ...], epochs: int) -> list[float]:
    """Clips per second of each epoch of the feed; the first one includes reading the store through Ray Data."""
    began = time.perf_counter()
    dataset = store.dataset("train", columns)
    feed = Feed(lambda: dataset.iter_batches(batch_size=BATCH_SIZE, batch_format="numpy"), columns, BATCH_SIZE)
    filling = time.perf_counter() - began
    num_clips = store.num_clips("train")
    rates = [_rate(lambda: (next(feed) for _ in range(num_clips // BATCH_SIZE)), num_clips) for _ in range(epochs)]
    return [num_clips / (num_clips / rates[0] + filling), *rates[1:]]


def _rate(epoch: Callable[[], Iterator[Batch]], num_clips: int) -> float:
    """Clips per second of one pass, in which every batch is touched."""
    began, checksum, seen = time.perf_counter(), Tensor(), 0
    for batch in epoch():
        checksum = batch["mel"][:, 0, 0].sum()
        seen += len(batch["label"])
    assert torch.isfinite(checksum) and seen >= num_clips - BATCH_SIZE
    return seen / (time.perf_counter() - began)


def measure(num_clips: int, epochs: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, connected():
        source, out = Path(folder, "wav"), Path(folder, "store")
        write_recordings(source, num_clips)
        began = time.perf_counter()
        store = build(str(source), out, clip=CLIP, mel=MEL, max_rejected=0.0, progress=Quiet())
        building = time.perf_counter() - began
        plain = plain_epochs(store, source, epochs)
        ours = feed_epochs(store, WHOLE, 4 * epochs)
        mel_only = feed_epochs(store, MEL_ONLY, 4 * epochs)
    return {
        "clips": num_clips,
        "clips_per_second": float(np.median(ours[1:])),
        "clips_per_second_epoch1": ours[0],
        "clips_per_second_mel_only": float(np.median(mel_only[1:])),
        "clips_per_second_plain": float(np.median(plain[1:])),
        "ratio_epoch1": ours[0] / plain[0],
        "ratio_epoch2": float(np.median(ours[1:]) / np.median(plain[1:])),
        "build_seconds": building,
        "build_clips_per_second": num_clips / building,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer clips and epochs; under a minute")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    logging.getLogger("ray").setLevel(logging.ERROR)
    figures = measure(num_clips=320 if quick else 1600, epochs=2 if quick else 4)
    print(f"{'from WAV files to the training batch':40s} {'clips/s':>10s}")
    for name, key in (
        ("plain loop, every epoch", "clips_per_second_plain"),
        ("feed, epoch 1 (reads the store)", "clips_per_second_epoch1"),
        ("feed, from epoch 2 on", "clips_per_second"),
        ("feed, from epoch 2 on, mel alone", "clips_per_second_mel_only"),
        ("making the store, once", "build_clips_per_second"),
    ):
        print(f"{name:40s} {figures[key]:10.0f}")
    print(f"from epoch 2 on, {figures['ratio_epoch2']:.1f} times the plain loop")
    print(json.dumps({"benchmark": "corpus_stream", **{key: round(value, 2) for key, value in figures.items()}}))


if __name__ == "__main__":
    main()
