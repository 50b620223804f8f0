"""A small real system: a classifier, two nets that play against each other, tones for sound, and a store to learn from."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from foleyray.checkpoint import Checkpoint
from foleyray.clips import ClassList, ClipSpec, MelSpec
from foleyray.corpus.store import FORMAT, SPLITS, Store, StoreCard, open_store
from foleyray.progress import Quiet
from foleyray.sampling import SamplingParams
from foleyray.stage import Batch, Losses, Stage, Step
from foleyray.system import System, SystemConfig

BANDS = 4
CLASSES = ClassList(names=("Low", "High"))
CLIP = ClipSpec(sample_rate_hz=8_000, seconds=0.25)
MEL = MelSpec(sample_rate_hz=8_000, fft=256, hop=64, window=256, bands=BANDS, high_hz=4_000)
FRAMES = MEL.frames(CLIP.num_samples)


class ToyConfig(SystemConfig):
    system: Literal["toy"] = "toy"
    clip: ClipSpec = CLIP
    mel: MelSpec = MEL
    width: int = 8
    lr: float = 1e-2
    dropout: float = 0.0
    cosine: bool = False
    scale: float = 1.0
    spoil_at: int | None = None
    pause_seconds: float = 0.0
    pids: str | None = None
    """A folder in which every process that trains leaves a file named by its id."""


def _net(width: int, *, inputs: int, outputs: int, dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.Dropout(dropout), nn.Tanh(), nn.Linear(width, outputs))


@dataclass(frozen=True)
class Classifier:
    """Tells the class from the mean of each band."""

    config: ToyConfig
    name: str = "classifier"
    reads: tuple[str, ...] = ("mel", "label")
    needs: tuple[str, ...] = ()
    turns: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"fit": ("net",)})
    repeats: Mapping[str, int] = field(default_factory=dict)
    averaged: tuple[str, ...] = ("net",)

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        return nn.ModuleDict({"net": _net(self.config.width, inputs=BANDS, outputs=2, dropout=self.config.dropout)})

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> torch.optim.Optimizer:
        return torch.optim.AdamW(nets["net"].parameters(), lr=self.config.lr)

    def learning_rate(self, turn: str, step: Step) -> float:
        return 1 - step.index / step.total if self.config.cosine else 1.0

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        time.sleep(self.config.pause_seconds)
        if self.config.pids:
            (Path(self.config.pids) / str(os.getpid())).touch()
        scores = nets["net"](batch["mel"].mean(dim=-1))
        if self.config.spoil_at is not None and step.index + 1 == self.config.spoil_at:
            scores = scores * float("nan")
        loss = nn.functional.cross_entropy(scores, batch["label"])
        return {"loss": loss, "hits": (scores.argmax(dim=-1) == batch["label"]).float().mean()}

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return self.loss("fit", nets, batch, step)


def _fake(nets: nn.ModuleDict, labels: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(len(labels), 2, generator=generator, device=generator.device)
    return nets["generator"](torch.cat([noise, nets["table"](labels)], dim=-1))


@dataclass(frozen=True)
class Players:
    """A generator of band means and a critic of them, beside the frozen classifier."""

    config: ToyConfig
    name: str = "players"
    reads: tuple[str, ...] = ("mel", "label")
    needs: tuple[str, ...] = ("classifier",)
    turns: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"critic": ("critic",), "generator": ("generator", "table")}
    )
    repeats: Mapping[str, int] = field(default_factory=lambda: {"critic": 2})
    averaged: tuple[str, ...] = ("generator", "table")

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        width = self.config.width
        return nn.ModuleDict({
            "generator": _net(width, inputs=4, outputs=BANDS),
            "table": nn.Embedding(2, 2),
            "critic": _net(width, inputs=BANDS, outputs=1),
            "judge": needed["classifier"]["net"],
        })  # fmt: skip

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> torch.optim.Optimizer:
        parameters = [parameter for name in self.turns[turn] for parameter in nets[name].parameters()]
        return torch.optim.Adam(parameters, lr=self.config.lr, betas=(0.0, 0.99))

    def learning_rate(self, turn: str, step: Step) -> float:
        return 1.0

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        fake = _fake(nets, batch["label"], step.generator)
        if turn == "critic":
            real = nets["critic"](batch["mel"].mean(dim=-1))
            return {"loss": self.config.scale * (torch.relu(1 - real).mean() + torch.relu(1 + nets["critic"](fake)).mean())}
        judged = nn.functional.cross_entropy(nets["judge"](fake), batch["label"])
        return {"loss": self.config.scale * (judged - nets["critic"](fake).mean()), "judged": judged}

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return {"judged": self.loss("generator", nets, batch, step)["judged"]}


@dataclass(frozen=True)
class Tones:
    """A tone a class, its pitch from the generator's band means and its phase from the seed."""

    nets: nn.ModuleDict
    classes: ClassList
    clip: ClipSpec = CLIP
    params: type[SamplingParams] = SamplingParams

    def sample(self, labels: Tensor, params: Sequence[SamplingParams], seeds: Sequence[int]) -> Tensor:
        waves = []
        for label, seed in zip(labels.tolist(), seeds, strict=True):
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                means = _fake(self.nets, torch.tensor([label]), generator)[0]
            pitch_hz = 400 * (1 + means.sigmoid() @ torch.linspace(0, 1, BANDS))
            seconds = torch.arange(self.clip.num_samples) / self.clip.sample_rate_hz
            waves.append(0.5 * torch.sin(2 * torch.pi * pitch_hz * seconds))
        return torch.stack(waves)


def stages(config: ToyConfig, classes: ClassList) -> tuple[Stage, ...]:
    return Classifier(config), Players(config)


def sampler(config: ToyConfig, checkpoints: Mapping[str, Checkpoint], device: torch.device) -> Tones:
    classifier = Classifier(config).build({})
    nets = checkpoints["players"].restore(Players(config).build({"classifier": classifier}))
    return Tones(nets.eval(), checkpoints["players"].card.classes)


SYSTEM = System("toy", ToyConfig, SamplingParams, stages, sampler, lambda config: ("players",))


def rows(count: int, seed: int) -> dict[str, np.ndarray]:
    """Clips of two classes that differ in which bands are loud."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(count) % 2)
    slope = np.where(label == 1, 1.0, -1.0)[:, None, None] * np.linspace(-1, 1, BANDS)[None, :, None]
    mel = slope + rng.normal(size=(count, BANDS, FRAMES))
    wave = rng.integers(-1000, 1000, size=(count, CLIP.num_samples))
    return {"label": label, "wave": wave.astype(np.int16), "mel": mel.astype(np.float16)}


def write_store(folder: Path, num_clips: int = 64) -> Store:
    """A store of the toy's clips, a Parquet file a split."""
    counts = {}
    for seed, split in enumerate(SPLITS):
        columns = rows(num_clips, seed)
        arrays = {name: pa.FixedShapeTensorArray.from_numpy_ndarray(columns[name]) for name in ("wave", "mel")}
        ids = [f"{split}-{index}" for index in range(num_clips)]
        (folder / split).mkdir(parents=True)
        pq.write_table(pa.table({"id": ids, "label": columns["label"], **arrays}), folder / split / "part-0.parquet")
        counts[split] = {name: int((columns["label"] == index).sum()) for index, name in enumerate(CLASSES.names)}
    card = StoreCard(
        format=FORMAT, fingerprint="00c0ffee", listing="00c0ffee", source="toy", clip=CLIP, mel=MEL, classes=CLASSES,
        counts=counts, rejected={}, warnings=0, notes=(), version="0",
    )  # fmt: skip
    (folder / "store.json").write_text(card.model_dump_json())
    return open_store(folder)


def config(**settings: Any) -> ToyConfig:
    """Settings of both trainings by name, and of the toy itself."""
    own = {name: settings.pop(name) for name in list(settings) if name in ToyConfig.model_fields}
    training = {"steps": 10, "batch_size": 8, "checkpoint_every": 5, "average": 0.9} | settings
    return ToyConfig(training={"classifier": training, "players": training}, **own)


def batches(count: int, size: int = 8, seed: int = 0) -> list[Batch]:
    """Batches for a loop that is fed by hand."""
    columns, rng = rows(64, seed=1), np.random.default_rng(seed)
    chosen = (rng.choice(64, size, replace=False) for _ in range(count))
    mel, label = torch.from_numpy(columns["mel"]).float(), torch.from_numpy(columns["label"])
    return [{"mel": mel[rows], "label": label[rows]} for rows in chosen]


class Said(Quiet):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)
