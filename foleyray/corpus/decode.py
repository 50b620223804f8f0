"""From the bytes of one file to one clip: first samples, mono, resampled, fitted, 16 bits. Nothing here raises.

A file that cannot be in comes back with a kind and a reason; one that decodes only in part comes back with a warning.
The log-mel is made by `foleyray.audio.mel` from the 16-bit wave, so that the two columns of a store agree exactly.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from foleyray.audio import wav
from foleyray.clips import ClipSpec

SILENT_BELOW_DB = -60.0
"""Peak of a clip, relative to full scale, below which it is silent."""
MIN_SAMPLE_RATE_HZ = 1_000
_BLOCK_FRAMES = 1_024
"""Read at once; what decodes before the first error is kept in whole blocks."""
_PROMISED = re.compile(r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What became of one file; `kind` is empty where it is in."""

    kind: str = ""
    reason: str = ""
    warning: str = ""
    seconds: float = 0.0
    """Of the whole recording, before it is cut or padded."""
    how: str = ""
    """`cut`, `padded` or `whole`."""
    gain: float = 1.0
    """Below 1 where a float file that went beyond full scale was scaled down to it."""
    hash: str = ""
    """Of the clip's samples: equal for two files that sound the same, whatever they are called."""


class _Rejected(Exception):
    """Why a file is not in: kind and reason."""


def decode(file: BinaryIO, clip: ClipSpec) -> tuple[Outcome, NDArray[np.int16] | None]:
    """The outcome, and the clip int16 (T,) where the file is in. Reads no more of the file than the clip needs."""
    try:
        return _decode(file, clip)
    except _Rejected as rejected:
        kind, reason = rejected.args
        return Outcome(kind, reason), None
    except Exception as error:  # One file in a million must not end the work of a night.
        return Outcome("unreadable", f"unreadable: {error or type(error).__name__}"), None


def _decode(file: BinaryIO, clip: ClipSpec) -> tuple[Outcome, NDArray[np.int16]]:
    if not file.read(1):
        raise _Rejected("undecodable", "does not decode: the file is empty (0 bytes)")
    file.seek(0)
    with _opened(file) as sound:
        frames, warning = _first_frames(sound, clip)
        from_hz, num_frames = sound.samplerate, sound.frames
    mono = torch.from_numpy(frames.mean(axis=1))
    fitted = wav.fit(wav.resample(mono, from_hz, clip.sample_rate_hz).numpy(), clip.num_samples)
    peak = float(np.abs(fitted).max())
    if peak < 10 ** (SILENT_BELOW_DB / 20):
        level = f"{20 * np.log10(peak):.0f} dBFS" if peak else "digital silence"
        raise _Rejected("silent", f"silent: its first {clip.seconds:g} s peak below {SILENT_BELOW_DB:.0f} dBFS ({level})")
    gain = min(1.0, 1.0 / peak)
    pcm = wav.to_int16(fitted * np.float32(gain))
    seconds = num_frames / from_hz
    how = "whole" if round(seconds * clip.sample_rate_hz) == clip.num_samples else "cut" if seconds > clip.seconds else "padded"
    digest = sha256(pcm.tobytes()).hexdigest()[:32]
    return Outcome(warning=warning, seconds=round(seconds, 3), how=how, gain=round(gain, 6), hash=digest), pcm


def _opened(file: BinaryIO) -> soundfile.SoundFile:
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        code = getattr(error, "code", 0)
        named = {1: "no sound format that libsndfile knows", 7: "no sound found in it"}
        raise _Rejected("undecodable", f"does not decode: {named.get(code) or _plain(error)}") from None
    if sound.samplerate < MIN_SAMPLE_RATE_HZ:
        raise _Rejected("undecodable", f"does not decode: its header gives a rate of {sound.samplerate} Hz")
    return sound


def _first_frames(sound: Any, clip: ClipSpec) -> tuple[NDArray[np.float32], str]:
    """As many frames (N, channels) as a clip needs, with a margin for the resampling filter, and a warning."""
    from_hz = sound.samplerate
    margin = 64 * max(1, -(-from_hz // clip.sample_rate_hz))
    needed = min(sound.frames, int(clip.seconds * from_hz) + 1 + margin)
    blocks, done, problem = [], 0, ""
    while done < needed and not problem:
        try:
            block = sound.read(min(_BLOCK_FRAMES, needed - done), dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            block, problem = np.zeros((0, sound.channels), np.float32), _plain(error) or "damaged data"
        blocks.append(block)
        done += len(block)
        if not len(block):
            problem = problem or "the data end there"
    if not done:
        raise _Rejected("undecodable", f"does not decode: it holds no samples{f' ({problem})' if problem else ''}")
    frames = np.concatenate(blocks)
    if not np.isfinite(frames).all():
        raise _Rejected("undecodable", "does not decode: it holds values that are not numbers")
    if done < needed:
        return frames, f"truncated: {done / from_hz:.2f} of {sound.frames / from_hz:.2f} s decode ({problem})"
    return frames, _truncation(sound.extra_info)


def _truncation(log: str) -> str:
    """A warning where libsndfile's header log says that more data was promised than there is."""
    for promised, there in _PROMISED.findall(log):
        if int(there) < int(promised) < 0xFFFFFFFF:  # All ones: a streaming encoder that could not know the length.
            return f"truncated: the header promises {promised} bytes and {there} are there"
    return ""


def _plain(error: Exception) -> str:
    return str(getattr(error, "error_string", "") or "").strip().rstrip(".") or type(error).__name__
