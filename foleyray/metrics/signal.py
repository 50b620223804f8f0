"""What is wrong with a wave whatever it sounds like: clipping, offset, silence, lost treble, level. One number a clip."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from foleyray.audio.wav import to_float
from foleyray.config import UserError
from foleyray.metrics.embeddings import FULL_SCALE
from foleyray.metrics.stats import Floats

ROLLOFF_SHARE = 0.95
SILENT_RMS = 1e-3
"""-60 dBFS, of a frame of FRAME samples."""
FRAME = 512
CLIPS_AT_ONCE = 64
"""Bounds the float64 copies and spectra."""


@dataclass(frozen=True, eq=False)
class Signals:
    """Each (N,), one number a clip; all but `finite` are NaN for a clip that holds a number that is not finite."""

    finite: NDArray[np.bool_]
    clipped_share: Floats
    """Share of the samples at full scale."""
    dc: Floats
    """Mean sample, of full scale 1."""
    silent_share: Floats
    """Share of the frames (23 ms at 22,050 Hz) with an RMS under -60 dBFS."""
    rolloff_hz: Floats
    """Below it lie 95 % of the power, offset aside; 0 of a silent clip."""
    loudness_dbfs: Floats
    """RMS, 0 for a full-scale square wave and -3.01 for a sine; -inf for digital silence."""

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def take(self, places: NDArray[np.integer]) -> Self:
        """Some of the clips, by their places."""
        return type(self)(**{name: column[places] for name, column in self.columns.items()})

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The clips of several blocks, in order."""
        return cls(**{field.name: np.concatenate([part.columns[field.name] for part in parts]) for field in fields(cls)})


def signals(waves: NDArray[Any], sample_rate_hz: int) -> Signals:
    """Of waves (N, T) int16, or float in [-1, 1]; raises UserError where they are shaped otherwise or hold under a frame."""
    if waves.ndim != 2 or len(waves) == 0 or waves.shape[1] < FRAME:
        raise UserError(f"waves have the shape {list(waves.shape)}; expected (clips, samples), {FRAME} samples a clip at least")
    parts = [_measure(waves[start : start + CLIPS_AT_ONCE], sample_rate_hz) for start in range(0, len(waves), CLIPS_AT_ONCE)]
    finite, numbers = (np.concatenate(side) for side in zip(*parts, strict=True))
    return Signals(finite, *numbers.T)


def _measure(block: NDArray[Any], sample_rate_hz: int) -> tuple[NDArray[np.bool_], Floats]:
    """waves (B, T) -> which are finite (B,), and the numbers (B, 5) in the order of `Signals`."""
    waves = np.asarray(to_float(block) if block.dtype == np.int16 else block, dtype=np.float64)
    finite = np.asarray(np.isfinite(waves).all(axis=1))
    sound = np.where(finite[:, None], waves, 0)
    frames = sound[:, : sound.shape[1] // FRAME * FRAME].reshape(len(sound), -1, FRAME)
    with np.errstate(divide="ignore"):
        loudness = 10 * np.log10(np.square(sound).mean(axis=1))
    numbers = (
        (np.abs(sound) >= FULL_SCALE).mean(axis=1),
        sound.mean(axis=1),
        (np.square(frames).mean(axis=2) < SILENT_RMS**2).mean(axis=1),
        _rolloff(sound, sample_rate_hz),
        loudness,
    )
    return finite, np.where(finite[:, None], np.stack(numbers, axis=1), np.nan)


def _rolloff(waves: Floats, sample_rate_hz: int) -> Floats:
    """waves (B, T) -> the frequency (B,) at which the summed power spectrum reaches its share."""
    centred = waves - waves.mean(axis=1, keepdims=True)
    spectra = scipy.fft.rfft(centred, axis=1)
    power = np.cumsum(np.square(spectra.real) + np.square(spectra.imag), axis=1)
    place = (power < ROLLOFF_SHARE * power[:, -1:]).sum(axis=1)
    return np.asarray(place * (sample_rate_hz / waves.shape[1]))
