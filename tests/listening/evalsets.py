"""Small evalsets to listen to, and sheets as listeners send them back."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

from foleyray.listening.key import Key

RATE_HZ = 22_050
HOSTILE = "<img src=x onerror=alert(1)>"
TIME = "2026-01-02T03:04:05.678Z"


def write_sound(file: Path, hz: float, *, seconds: float = 0.3, rate_hz: int = RATE_HZ, channels: int = 1) -> Path:
    """A tone whose pitch tells it from every other."""
    file.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)
    soundfile.write(file, np.stack([wave] * channels, axis=1), rate_hz, subtype="PCM_16")
    return file


def write_evalset(folder: Path, *, systems=("quince", "medlar"), classes=("DogBark", HOSTILE), clips: int = 2) -> Path:
    hz = iter(range(200, 8000, 37))
    for system in systems:
        for name in classes:
            for number in range(clips):
                write_sound(folder / system / name / f"take_{number}.wav", next(hz))
    return folder


def sheet_of(key: Key, rater: str, values: Mapping[str, Mapping[str, int]]) -> dict:
    """A whole sheet: system -> scale -> the score that all its clips and sets get; a scale that is left out is missing."""
    ratings = [
        {"item": item, "scale": scale, "value": values[found.system][scale], "time": TIME}
        for name, found in key.sets.items()
        for item in (*found.clips, name)
        for scale in key.scales_of[item]
        if scale in values[found.system]
    ]
    return {"page": key.page, "rater": rater, "missing": key.num_scores - len(ratings), "ratings": ratings}


def write_sheet(folder: Path, sheet: Mapping) -> Path:
    file = folder / f"ratings-{sheet['rater']}.json"
    file.write_text(json.dumps(sheet), encoding="utf-8")
    return file
