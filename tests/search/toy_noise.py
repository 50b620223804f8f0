"""Small real systems whose sounds come nearer to the reference the nearer one parameter comes to its target.

Noise with a spectral tilt. The reference clips of class k have the tilt TARGETS[k]; the trained checkpoints of two stages add
their own offsets, which shrink with their steps. TWIN is another system of the same kind.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from foleyray import checkpoint
from foleyray.audio.wav import to_int16
from foleyray.checkpoint import Card, Checkpoint
from foleyray.clips import ClassList, ClipSpec, MelSpec
from foleyray.corpus.store import FORMAT, SPLITS, Store, StoreCard, open_store
from foleyray.sampling import Choice, Float, Int, SamplingParams
from foleyray.search.config import SearchConfig
from foleyray.search.entries import Entry
from foleyray.system import System, SystemConfig

CLASSES = ClassList(names=("Dull", "Bright"))
TARGETS = (1.5, 0.3)
CLIP = ClipSpec(sample_rate_hz=8_000, seconds=0.5)
MEL = MelSpec(sample_rate_hz=8_000, fft=256, hop=128, window=256, bands=4, high_hz=4_000)


class NoiseParams(SamplingParams):
    tilt: float = Float(0.0, 2.0, start=1.0, help="fall of the amplitude spectrum, per octave of 6 dB")
    repeats: int = Int(1, 3, start=1, help="how often the noise is played", batch_wide=True)
    polarity: Literal["up", "down"] = Choice(start="up", help="sign of the wave")


class NoiseConfig(SystemConfig):
    system: Literal["noise"] = "noise"
    clip: ClipSpec = CLIP
    mel: MelSpec = MEL
    pause_seconds: float = 0.0
    """Per clip: so long does it take to make one."""
    diary: Path | None = None
    """A file to which every loading of a sampler and every clip adds a line."""
    broken: bool = False
    hopeless: tuple[str, ...] = ()
    """Classes that sound far too bright whatever the parameters."""


class TwinConfig(NoiseConfig):
    system: Literal["twin"] = "twin"


def noise(tilt: float, seed: int) -> Tensor:
    """A wave (T,) of at most 0.9."""
    white = torch.randn(CLIP.num_samples, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.fft.rfft(white)
    shaped = torch.fft.irfft(spectrum * torch.arange(1, len(spectrum) + 1.0) ** -tilt, CLIP.num_samples)
    return 0.9 * shaped / shaped.abs().max()


@dataclass
class NoiseSampler:
    config: NoiseConfig
    offset: float
    clip: ClipSpec = CLIP
    classes: ClassList = CLASSES
    params: type[SamplingParams] = NoiseParams

    def sample(self, labels: Tensor, params: Sequence[Any], seeds: Sequence[int]) -> Tensor:
        time.sleep(self.config.pause_seconds * len(seeds))
        write(self.config.diary, *(f"clip {seed}" for seed in seeds))
        waves = [
            noise(chosen.tilt + self.offset - 3 * (CLASSES.names[label] in self.config.hopeless), seed)
            for label, chosen, seed in zip(labels.tolist(), params, seeds, strict=True)
        ]
        return torch.stack(waves) * (float("nan") if self.config.broken else 1.0)


def write(diary: Path | None, *lines: str) -> None:
    if diary is not None:
        with diary.open("a") as file:
            file.write("".join(f"{os.getpid()} {line}\n" for line in lines))


def sampler(config: NoiseConfig, checkpoints: Mapping[str, Checkpoint], device: torch.device) -> NoiseSampler:
    write(config.diary, f"load {' '.join(str(checkpoints[stage].card.step) for stage in ('base', 'noise'))}")
    return NoiseSampler(config, sum(float(step.weights()["net.offset"]) for step in checkpoints.values()))


SYSTEM = System(
    name="noise",
    config=NoiseConfig,
    params=NoiseParams,
    stages=lambda config, classes: (),
    sampler=sampler,
    samples_from=lambda config: ("base", "noise"),
)
TWIN = replace(SYSTEM, name="twin", config=TwinConfig)
RUNS = {"noise": "0a1b2c3d", "twin": "7b7b7b7b"}


def config(system: System = SYSTEM, **settings: Any) -> NoiseConfig:
    return system.config(training={"noise": {"steps": 30, "batch_size": 1}}, **settings)


def entry(settings: SearchConfig, system: System = SYSTEM, **how: Any) -> Entry:
    return Entry(system, config(system, **how), settings)


def trained(
    run: Path, classes: ClassList = CLASSES, steps: Sequence[int] = (0, 10, 20, 30), system: System = SYSTEM
) -> dict[str, list[Checkpoint]]:
    """Checkpoints of both stages; they are off the target by less and less, step 0 by nothing at all."""
    return {
        stage: [save(run, stage, step, classes, 0.0 if step == 0 else 1.0 / step, system) for step in steps]
        for stage in ("base", "noise")
    }


def save(run: Path, stage: str, step: int, classes: ClassList, offset: float, system: System = SYSTEM) -> Checkpoint:
    card = Card(
        system=system.name,
        stage=stage,
        run=RUNS[system.name],
        step=step,
        config=config(system).model_dump(mode="json"),
        classes=classes,
        mel_id=MEL.id,
        corpus="c0c0c0c0",
        version="0",
        commit="unknown",
    )
    weights = {"net.offset": torch.tensor(offset)}
    return checkpoint.save(run / stage / card.run, card, weights, weights if step == 30 else None, {})


def write_store(folder: Path, counts: Mapping[str, Sequence[int]] | None = None) -> Store:
    """A store whose clips are noise with the tilts of TARGETS; `counts` is split -> clips per class."""
    counts = counts or {"train": (1, 1), "reference": (12, 12), "held_out": (10, 10)}
    for split in SPLITS:
        rows = [(label, index) for label, count in enumerate(counts[split]) for index in range(count)]
        waves = [
            to_int16(noise(TARGETS[label], 10_000 * SPLITS.index(split) + 100 * label + index).numpy()) for label, index in rows
        ]
        (folder / split).mkdir(parents=True)
        columns = {
            "id": pa.array([f"{split}-{label}-{index}" for label, index in rows], pa.string()),
            "label": pa.array([label for label, _ in rows], pa.int64()),
            "wave": tensors(np.array(waves, np.int16).reshape(-1, CLIP.num_samples)),
            "mel": tensors(np.zeros((len(rows), MEL.bands, MEL.frames(CLIP.num_samples)), np.float16)),
        }
        pq.write_table(pa.table(columns), folder / split / "000000.parquet")
    card = StoreCard(
        format=FORMAT,
        fingerprint="c0c0c0c0",
        listing="",
        source="noise",
        clip=CLIP,
        mel=MEL,
        classes=CLASSES,
        counts={split: dict(zip(CLASSES.names, counts[split], strict=True)) for split in SPLITS},
        rejected={},
        warnings=0,
        notes=(),
        version="0",
    )
    (folder / "store.json").write_text(card.model_dump_json())
    return open_store(folder)


def tensors(values: np.ndarray) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(values)
