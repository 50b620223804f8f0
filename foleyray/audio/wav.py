"""Sound files: reading, resampling to mono, fitting to the clip, and encoding to bytes with the recipe inside."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torchaudio.functional import resample as _resample

from foleyray.clips import ClipSpec
from foleyray.config import UserError

Format = Literal["wav", "flac"]
FORMATS: dict[Format, str] = {"wav": "audio/wav", "flac": "audio/flac"}


def resample(wave: torch.Tensor, from_hz: int, to_hz: int) -> torch.Tensor:
    """wave (..., T) at `from_hz` -> (..., ceil(T * to_hz / from_hz)); windowed sinc, Kaiser window.

    The ratio is one of small numbers, off by less than a millionth: rates such as 44,056 Hz would else need a filter of
    gigabytes.
    """
    if from_hz == to_hz:
        return wave
    ratio = Fraction(from_hz, to_hz).limit_denominator(1024)
    return _resample(
        wave, ratio.numerator, ratio.denominator, lowpass_filter_width=32, rolloff=0.95, resampling_method="sinc_interp_kaiser"
    )


def fit(wave: NDArray[np.float32], num_samples: int) -> NDArray[np.float32]:
    """Cuts a mono wave (T,) at the end, or pads it with zeros, to `num_samples`."""
    return np.pad(wave[:num_samples], (0, max(0, num_samples - len(wave))))


def to_int16(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    """[-1, 1] -> 16-bit PCM; what lies beyond is clipped."""
    return np.clip(np.round(wave * 32768.0), -32768, 32767).astype(np.int16)


def to_float(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """16-bit PCM -> float32 in [-1, 1), divided by 32768."""
    return pcm.astype(np.float32) / np.float32(32768.0)


def read_mono(file: Path | str | io.BytesIO, to_hz: int) -> NDArray[np.float32]:
    """Decodes any format libsndfile reads, averages the channels and resamples; raises UserError where it does not decode."""
    try:
        wave, from_hz = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UserError(f"{file} does not decode as sound: {error}") from None
    mono = torch.from_numpy(wave.mean(axis=1))
    return np.asarray(resample(mono, from_hz, to_hz).numpy())


def encode(wave: NDArray[np.float32], clip: ClipSpec, form: Format, recipe: str = "") -> bytes:
    """A wave (T,) in [-1, 1] as 16-bit wav or flac bytes, with `recipe` in the file's comment field."""
    target = io.BytesIO()
    with soundfile.SoundFile(target, "w", clip.sample_rate_hz, 1, "PCM_16", format=form.upper()) as file:
        if recipe:
            file.comment = recipe
            file.software = "foleyray"
        file.write(to_int16(wave))
    return target.getvalue()
