"""The nearest training clip of each clip, heard three ways: in an embedding, in the log-mel, and in the wave.

Mel and wave are compared at equal level and at whatever lag fits best, so a copy that is quieter, later or cut at one end
is found. Training clips are gone through in blocks: thousands of them cost time, not memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray

from foleyray.audio.mel import Mel
from foleyray.audio.wav import to_float
from foleyray.clips import MelSpec
from foleyray.config import UserError
from foleyray.metrics.diversity import cosines
from foleyray.metrics.stats import Floats

CLIPS_AT_ONCE = 64
LEVEL_RMS = 0.1
BANDS, HOP = 40, 512
SHORTEST = 1024
"""Samples of the shortest wave that has a log-mel."""
FLOOR = 1e-2
"""Mel magnitude, of a clip at LEVEL_RMS, that counts as nothing; the loudest are near 10."""
SHORTLIST = 8
"""Training clips by mel whose waves are compared: the peak of the correlation is costly."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """Of each clip (N,): the place of the nearest training clip, from 0, and how far it is."""

    place: NDArray[np.int64]
    distance: Floats


def nearest_in_embedding(queries: NDArray[Any], training: NDArray[Any]) -> Nearest:
    """By cosine distance, 0 to 2, of vectors (N, D) and (M, D); raises UserError where their dims differ."""
    if queries.shape[1] != training.shape[1]:
        dims = f"{queries.shape[1]} and {training.shape[1]}"
        raise UserError(f"embeddings of {dims} dimensions do not compare; use one embedder for both")
    return _nearest(1 - cosines(queries, training))


def nearest_in_sound(queries: NDArray[Any], training: NDArray[Any], sample_rate_hz: int) -> tuple[Nearest, Nearest]:
    """By mel and by wave, of waves (N, T) and (M, S), int16 or float.

    By mel: L2 distance of log-mels at equal level and the best lag, over the root of the number of cells. By wave: 1 minus the
    highest absolute normalised cross-correlation over all lags, among the SHORTLIST training clips nearest by mel.
    """
    by_mel = mel_distances(queries, training, sample_rate_hz)
    shortlist = np.argsort(by_mel, axis=1, kind="stable")[:, :SHORTLIST]
    places, peaks = np.empty(len(queries), dtype=np.int64), np.empty(len(queries))
    for index, candidates in enumerate(shortlist):
        found = correlation_peaks(_floats(queries[index : index + 1])[0], _floats(training[candidates]))
        places[index], peaks[index] = candidates[found.argmax()], found.max()
    return _nearest(by_mel), Nearest(places, 1 - peaks)


def correlation_peaks(wave: NDArray[Any], others: NDArray[Any]) -> Floats:
    """Highest absolute normalised cross-correlation over all lags, 0 to 1, of a wave (T,) with others (M, S) -> (M,)."""
    size = scipy.fft.next_fast_len(len(wave) + others.shape[1] - 1, real=True)
    spectra = scipy.fft.rfft(others, size, axis=1) * np.conj(scipy.fft.rfft(wave, size))
    peaks = np.abs(scipy.fft.irfft(spectra, size, axis=1)).max(axis=1)
    norms = np.linalg.norm(wave) * np.linalg.norm(others, axis=1)
    return np.asarray(np.divide(peaks, norms, out=np.zeros(len(others)), where=norms > 0).clip(max=1))


def mel_distances(queries: NDArray[Any], training: NDArray[Any], sample_rate_hz: int) -> Floats:
    """Root mean square difference of log-mels, in nepers, at equal level and the best lag: (N, T), (M, S) -> (N, M).

    A log-mel is counted from FLOOR up, so what a lag moves in from beyond the ends is silence.
    """
    size = scipy.fft.next_fast_len(_frames(queries, sample_rate_hz) + _frames(training, sample_rate_hz) - 1, real=True)
    parts = [_spectra(block, size) for block in _log_mels(queries, sample_rate_hz)]
    own, energy = (np.concatenate(side, axis=axis) for side, axis in zip(zip(*parts, strict=True), (1, 0), strict=True))
    distances = []
    for block in _log_mels(training, sample_rate_hz):
        other, other_energy = _spectra(block, size)
        # frequency by frequency, all pairs at once: (F, N, bands) @ (F, bands, B)
        products = np.matmul(own, np.conj(other).transpose(0, 2, 1))
        overlap = scipy.fft.irfft(products, size, axis=0).max(axis=0)
        distances.append(energy[:, None] + other_energy - 2 * overlap)
    cells = BANDS * _frames(training, sample_rate_hz)
    return np.asarray(np.sqrt(np.concatenate(distances, axis=1).clip(min=0) / cells))


def _nearest(distances: Floats) -> Nearest:
    return Nearest(distances.argmin(axis=1), distances.min(axis=1))


def _spectra(mels: NDArray[np.float32], size: int) -> tuple[NDArray[np.complex64], Floats]:
    """Log-mels (B, bands, frames) -> their transforms over time (F, B, bands), and their sums of squares (B,)."""
    transforms = np.ascontiguousarray(scipy.fft.rfft(mels, size, axis=2).transpose(2, 0, 1))
    return transforms, np.square(mels, dtype=np.float64).sum(axis=(1, 2))


def _log_mels(waves: NDArray[Any], sample_rate_hz: int) -> Iterator[NDArray[np.float32]]:
    """Block after block (B, bands, frames), counted from the floor."""
    mel = Mel(_spec(sample_rate_hz))
    for start in range(0, len(waves), CLIPS_AT_ONCE):
        block = _floats(waves[start : start + CLIPS_AT_ONCE])
        rms = np.sqrt(np.square(block).mean(axis=1, keepdims=True))
        matched = block * np.divide(LEVEL_RMS, rms, out=np.zeros_like(rms), where=rms > 0)
        with torch.inference_mode():
            yield (mel(torch.from_numpy(matched)) - np.log(FLOOR)).numpy()


def _spec(sample_rate_hz: int) -> MelSpec:
    high = min(8_000.0, sample_rate_hz / 2)
    return MelSpec(sample_rate_hz=sample_rate_hz, bands=BANDS, hop=HOP, high_hz=high, floor=FLOOR)


def _frames(waves: NDArray[Any], sample_rate_hz: int) -> int:
    return _spec(sample_rate_hz).frames(waves.shape[1])


def _floats(waves: NDArray[Any]) -> NDArray[np.float32]:
    return to_float(waves) if waves.dtype == np.int16 else np.asarray(waves, dtype=np.float32)
