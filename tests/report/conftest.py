"""A whole small run folder: a store, a trained-looking and an untrained step of a real system, trials, losses and all."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from foleyray import __version__, checkpoint
from foleyray.audio.mel import Mel
from foleyray.audio.wav import to_float, to_int16
from foleyray.clips import ClassList
from foleyray.corpus.shards import write_clips
from foleyray.corpus.store import FORMAT, SPLITS, Store, StoreCard, open_store
from foleyray.ensemble import Ensemble, Evidence, Member, Rival
from foleyray.system import read_config
from tests.ensembles import TINY, write_untrained

CLASSES = ClassList(names=("Hum", "Hiss"))
CLIPS = {"train": 6, "reference": 4, "held_out": 5}
OTHER = "other_system"
"""A system that lost: the search and the evidence know it, the ensemble has no member of it."""


def rival(system: str, value: float, interval: tuple[float, float]) -> Rival:
    return Rival(system=system, checkpoints={}, params={}, search_value=2.8, value=value, interval=interval)


RIVALS = {
    "Hum": (rival(OTHER, 3.4, (3.3, 3.6)),),
    "Hiss": (rival("contrastive_gan", 4.25, (4.0, 4.5)), rival(OTHER, 7.75, (7.0, 8.0))),
}
HOSTILE = "<script>alert('file')</script>.wav"


@pytest.fixture(scope="session")
def bare_run(tmp_path_factory) -> Path:
    """A run that has come as far as its corpus."""
    run = tmp_path_factory.mktemp("report") / "small run"
    write_store(run / "corpus")
    return run


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> Path:
    """A run that has come to its ensemble."""
    run = tmp_path_factory.mktemp("report") / "small run"
    store = write_store(run / "corpus")
    write_ensemble(run, store)
    write_trials(run / "search")
    (run / "timings.json").write_text(json.dumps({"corpus": {"seconds": 1.5}, "train": {"seconds": 100.0}}))
    (run / "command.json").write_text(
        json.dumps({"argv": ["foleyray", "run", "--corpus", "a b & <c>"], "versions": {"torch": "2"}, "machine": "small"})
    )
    return run


def write_store(folder: Path) -> Store:
    _, config = read_config(TINY)
    generator = np.random.default_rng(0)
    manifest = []
    for split in SPLITS:
        labels = np.repeat(np.arange(len(CLASSES.names)), CLIPS[split])
        ids = [f"{CLASSES.names[label]}_{number}" for number, label in enumerate(labels)]
        wave = np.stack([_wave(label, generator) for label in labels])
        mel = Mel(config.mel)(torch.from_numpy(to_float(wave))).half().numpy()
        tensors = {k: pa.FixedShapeTensorArray.from_numpy_ndarray(v) for k, v in {"wave": wave, "mel": mel}.items()}
        write_clips(folder / split / "000000.parquet", pa.table({"id": ids, "label": pa.array(labels), **tensors}))
        manifest += [{"id": id, "path": f"{id}.wav", "split": split, "warning": ""} for id in ids]
    manifest[0]["warning"] = "truncated <b>"
    rejected = [{"path": HOSTILE, "kind": "silent", "reason": "silent & <empty>"}]
    for file, lines in {"manifest.jsonl": manifest, "rejected.jsonl": rejected}.items():
        (folder / file).write_text("".join(json.dumps(line) + "\n" for line in lines))
    card = StoreCard(
        format=FORMAT,
        fingerprint="c0ffee00",
        listing="00000000",
        source="made here",
        clip=config.clip,
        mel=config.mel,
        classes=CLASSES,
        counts={split: dict.fromkeys(CLASSES.names, count) for split, count in CLIPS.items()},
        rejected={"silent": 1},
        warnings=1,
        notes=("A note of the corpus.",),
        version=__version__,
    )
    (folder / "store.json").write_text(card.model_dump_json())
    return open_store(folder)


def _wave(label: int, generator: np.random.Generator) -> np.ndarray:
    seconds = np.arange(88_200) / 22_050
    hum = np.sin(2 * np.pi * generator.uniform(90, 140) * seconds)
    hiss = generator.standard_normal(88_200) * np.exp(-seconds * generator.uniform(0.5, 2))
    return to_int16(0.2 * (hiss if label else hum).astype(np.float32))


def write_ensemble(run: Path, store: Store) -> Ensemble:
    """Step 0 of every stage in train/, and a later step with other weights below the ensemble, with logged losses."""
    generator = torch.Generator().manual_seed(0)
    paths: dict[str, str] = {}
    for stage, step in write_untrained(run / "train", classes=CLASSES).items():
        weights = {
            key: value + 0.05 * torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
            for key, value in step.weights().items()
        }
        card = step.card.model_copy(update={"step": 40})
        saved = checkpoint.save(run / "checkpoints" / stage / card.run, card, weights, None, {})
        paths[stage] = f"checkpoints/{saved.id}"
        with SummaryWriter(str(step.path.parent)) as writer:
            for at in range(1, 41):
                writer.add_scalar("generator/loss", 2.0 / at, at)
                writer.add_scalar("generator/norm", 1.0, at)
    system, config = read_config(TINY)
    evidence = Evidence(
        metric="fad",
        embedder="logmel",
        recipe="active",
        value=3.25,
        interval=(3.0, 3.5),
        reference="held_out",
        num_clips=6,
        num_reference_clips=5,
        seed=1,
        search_value=2.75,
        diversity_ratio=0.5,
        corpus=store.fingerprint,
        commit="unknown",
        date="2025-01-01",
    )
    chosen = {stage: paths[stage] for stage in system.samples_from(config)}
    classes = {
        name: (Member(system=system.name, checkpoints=chosen, evidence=evidence.model_copy(update={"rivals": rivals})),)
        for name, rivals in RIVALS.items()
    }
    ensemble = Ensemble(clip=config.clip, class_list=CLASSES, classes=classes)
    ensemble.save(run)
    return ensemble


def write_trials(search: Path) -> None:
    """Five trials of the one system and three of the other, for each class."""
    search.mkdir()
    rows = [
        {
            "class": name,
            "system": system,
            "trial": trial,
            "checkpoints": {"gan": f"gan/00c0ffee/step-{100 * (trial // 2):09d}"},
            "params": {"truncation": 1.0 - trial / 8, "averaged": "on"},
            "fad": None if trial == 3 else 9.0 - trial,
            "clips": 8,
            "stopped": trial == 4,
        }
        for system, count in {"contrastive_gan": 5, OTHER: 3}.items()
        for name in CLASSES.names
        for trial in range(count)
    ]
    (search / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
