"""Sound files made alike, so that neither format, rate, channels nor tags tell systems apart: mono 16-bit FLAC at one rate."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from foleyray.audio.wav import encode, read_mono
from foleyray.clips import ClipSpec
from foleyray.config import UserError


@dataclass(frozen=True)
class Facts:
    """Of a file as it is: what may have to be said about it."""

    rate_hz: int
    channels: int
    seconds: float


@dataclass(frozen=True)
class Sound:
    """What the page plays: FLAC in base64, and whether samples went beyond full scale and were cut."""

    flac: str
    is_cut: bool


def facts_of(file: Path) -> Facts:
    """From the header; raises UserError where the file is no sound or holds no samples."""
    try:
        info = soundfile.info(file)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UserError(f"{file} does not decode as sound ({error}); mend or remove it") from None
    if not info.frames:
        raise UserError(f"{file} holds no samples; make it again or remove it")
    return Facts(info.samplerate, info.channels, info.duration)


def made_alike(file: Path, clip: ClipSpec) -> Sound:
    """At the rate of `clip`, as long and as loud as it is; raises UserError where samples are no numbers."""
    wave = read_mono(file, clip.sample_rate_hz)
    if not np.isfinite(wave).all():
        raise UserError(f"{file} holds samples that are not finite numbers; mend or remove it")
    is_cut = bool(np.abs(wave).max() > 1)
    return Sound(b64encode(encode(wave, clip, "flac")).decode("ascii"), is_cut)


def remarks(facts: Sequence[Facts], num_cut: int, rate_hz: int) -> list[str]:
    """What was done to files, and what may still tell systems apart."""
    found = []
    if resampled := sum(fact.rate_hz != rate_hz for fact in facts):
        found.append(f"{resampled} of {len(facts)} clips were resampled to {rate_hz:,} Hz, the highest rate among them")
    if mixed := sum(fact.channels > 1 for fact in facts):
        found.append(f"{mixed} of {len(facts)} clips were mixed to mono")
    if num_cut:
        found.append(f"{num_cut} of {len(facts)} clips go beyond full scale and are cut there, as a player would")
    shortest, longest = (pick(fact.seconds for fact in facts) for pick in (min, max))
    if longest - shortest > 0.05:
        found.append(f"clips last {shortest:.2f} to {longest:.2f} s: their length may tell systems apart")
    return found
