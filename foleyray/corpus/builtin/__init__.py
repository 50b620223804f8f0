"""The built-in corpus: the seven classes of DCASE 2023 Task 7 as small physical models, written as real WAV files.

This file turns (class, index, seed) into files; what a class sounds like lives beside it, one file for each family.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foleyray.audio.wav import encode
from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.corpus.builtin import blasts, impacts, streams, voices
from foleyray.corpus.builtin.acoustics import CLIP, Rng, Wave
from foleyray.progress import Progress

SOURCE = "builtin"
"""What stands for this corpus where a source is asked for."""
CLIPS_PER_CLASS = 96
"""Three quarters to train on, the rest to measure with."""
VERSION = 1  # counts up whenever a recipe below changes its sound, so that folders of older sounds are written anew
MARKER = "builtin.json"
EVAL_SHARE = 0.25
FEWEST_CLIPS = 8  # 6 to train on, and one each for reference and held_out

RECIPES: dict[str, Callable[[Rng], Wave]] = dict(
    zip(
        DCASE7.names,
        (
            voices.dog_bark,
            impacts.footstep,
            blasts.gun_shot,
            impacts.keyboard,
            streams.moving_motor_vehicle,
            streams.rain,
            voices.sneeze_cough,
        ),
        strict=True,
    )
)


def synthesise(class_name: str, index: int, seed: int) -> NDArray[np.float32]:
    """Recording `index` of a class, (T,) in [-1, 1]; one (class, index, seed) is one sound, whatever else is made."""
    rng = np.random.default_rng([seed, DCASE7.index(class_name), index])
    return RECIPES[class_name](rng).astype(np.float32)


def write_builtin(folder: Path, *, clips_per_class: int = CLIPS_PER_CLASS, seed: int = 0, progress: Progress) -> Path:
    """Writes `<split>/<Class>/<Class>_0001.wav`, the last quarter of each class under `eval`; returns `folder`.

    Every clip is a recording of its own. A folder already written with these settings is left as it is, one with other
    settings is replaced as a whole; raises UserError for a folder that holds anything else.
    """
    settings = {"version": VERSION, "clips_per_class": clips_per_class, "seed": seed, "clip": CLIP.model_dump(mode="json")}
    if _is_written(folder, settings):
        return folder
    if clips_per_class < FEWEST_CLIPS or seed < 0:
        raise UserError(
            f"built-in corpus of {clips_per_class} clips a class with seed {seed}: at least {FEWEST_CLIPS} clips "
            "and a seed of 0 or more are needed"
        )
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    _write_clips(beside, clips_per_class, seed, progress)
    (beside / MARKER).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    beside.rename(folder)
    return folder


def _is_written(folder: Path, settings: dict[str, object]) -> bool:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / MARKER).is_file():
        raise UserError(f"{folder} holds something else than a built-in corpus; name a folder that is new or empty")
    try:
        return bool(json.loads((folder / MARKER).read_text(encoding="utf-8")) == settings)
    except ValueError:
        return False


def _write_clips(folder: Path, clips_per_class: int, seed: int, progress: Progress) -> None:
    num_train = clips_per_class - round(clips_per_class * EVAL_SHARE)
    with progress.begin("built-in corpus", len(RECIPES) * clips_per_class, "clips") as task:
        for name in RECIPES:
            for index in range(clips_per_class):
                target = folder / ("train" if index < num_train else "eval") / name / f"{name}_{index + 1:04d}.wav"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(encode(synthesise(name, index, seed), CLIP, "wav"))
                task.advance(note=name)
