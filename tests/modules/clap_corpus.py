"""A corpus of low and high tones in noise, and a system of the stage `clap` and one that learns from its column."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from foleyray.clips import ClassList, ClipSpec, MelSpec
from foleyray.corpus.store import FORMAT, SPLITS, Store, StoreCard, open_store
from foleyray.modules.clap import ClapSettings, PublishedClapSettings, clap_net
from foleyray.modules.clap_stage import clap_stage
from foleyray.modules.tiny_clap import TinyClapSettings
from foleyray.sampling import SamplingParams
from foleyray.stage import Batch, Losses, Stage, Step
from foleyray.system import System, SystemConfig
from tests.train import toy

CLASSES = ClassList(names=("Rain", "DogBark"))
CLIP = ClipSpec(sample_rate_hz=8_000, seconds=0.5)
MEL = MelSpec(sample_rate_hz=8_000, fft=256, hop=64, window=256, bands=4, high_hz=4_000)
SMALL = TinyClapSettings(
    mel=MelSpec(sample_rate_hz=6_000, fft=256, hop=128, window=256, bands=16, high_hz=3_000),
    dim=8,
    channels=(4, 8),
    shift_seconds=0.1,
    learning_rate=1e-2,
)


def tones(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Waves int16 (count, T) and their classes: around 500 Hz and around 1,500 Hz."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(count) % 2)
    pitch_hz = np.where(label == 0, 500, 1_500) * rng.uniform(0.8, 1.2, count)
    seconds = np.arange(CLIP.num_samples) / CLIP.sample_rate_hz
    loudness = rng.uniform(0.05, 0.5, count)[:, None]
    wave = loudness * np.sin(2 * np.pi * pitch_hz[:, None] * seconds) + rng.normal(0, 0.02, (count, CLIP.num_samples))
    return (wave.clip(-1, 1) * 32_767).astype(np.int16), label


def write_store(folder: Path, num_clips: int = 32) -> Store:
    counts = {}
    for seed, split in enumerate(SPLITS):
        wave, label = tones(num_clips, seed)
        mel = np.zeros((num_clips, MEL.bands, MEL.frames(CLIP.num_samples)), np.float16)
        columns = {name: pa.FixedShapeTensorArray.from_numpy_ndarray(array) for name, array in (("wave", wave), ("mel", mel))}
        (folder / split).mkdir(parents=True)
        ids = [f"{split}-{index}" for index in range(num_clips)]
        pq.write_table(pa.table({"id": ids, "label": label, **columns}), folder / split / "part-0.parquet")
        counts[split] = {name: int((label == index).sum()) for index, name in enumerate(CLASSES.names)}
    card = StoreCard(
        format=FORMAT, fingerprint="00c0ffee", listing="00c0ffee", source="tones", clip=CLIP, mel=MEL, classes=CLASSES,
        counts=counts, rejected={}, warnings=0, notes=(), version="0",
    )  # fmt: skip
    (folder / "store.json").write_text(card.model_dump_json())
    return open_store(folder)


class TonesConfig(SystemConfig):
    system: Literal["tones"] = "tones"
    clip: ClipSpec = CLIP
    mel: MelSpec = MEL
    clap: ClapSettings = SMALL


@dataclass(frozen=True)
class Reader:
    """Tells the class from the vectors of the clips, and knows those of the sentences."""

    name: str = "reader"
    reads: tuple[str, ...] = ("clap", "label")
    needs: tuple[str, ...] = ("clap",)
    turns: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"net": ("net",)})
    repeats: Mapping[str, int] = field(default_factory=dict)
    averaged: tuple[str, ...] = ()

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        return nn.ModuleDict({"net": nn.Linear(clap_net(needed["clap"]).dim, 2)})

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> torch.optim.Optimizer:
        return torch.optim.Adam(nets.parameters(), lr=0.1)

    def learning_rate(self, turn: str, step: Step) -> float:
        return 1.0

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return {"loss": nn.functional.cross_entropy(nets["net"](batch["clap"]), batch["label"])}

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return self.loss("net", nets, batch, step)


def stages(config: TonesConfig, classes: ClassList) -> tuple[Stage, ...]:
    return clap_stage(config.clap, config.clip, classes), Reader()


SYSTEM = System("tones", TonesConfig, SamplingParams, stages, toy.sampler, lambda config: ("clap", "reader"))


def config(clap: TinyClapSettings | PublishedClapSettings = SMALL, steps: int = 60) -> TonesConfig:
    training: dict[str, Any] = {"batch_size": 8, "checkpoint_every": steps, "balanced": True}
    return TonesConfig(
        clap=clap, training={"clap": training | {"steps": steps}, "reader": training | {"steps": 20, "checkpoint_every": 20}}
    )


def heard(split_seed: int, count: int = 16) -> tuple[Tensor, Tensor]:
    """Tones as waves float32 (count, T), and their classes."""
    wave, label = tones(count, split_seed)
    return torch.from_numpy(wave).float() / 32_768, torch.from_numpy(label)
