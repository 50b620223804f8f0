"""Physics shared by the built-in sounds: noise, resonances, impacts, rooms and the microphone at the end.

Waves are float64 (T,) at `RATE`; every draw takes the clip's own generator. What makes a class lives in its own file.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import butter, lfilter, oaconvolve, sosfilt

from foleyray.clips import ClipSpec

Wave = NDArray[np.float64]
Rng = np.random.Generator

CLIP = ClipSpec()
RATE = CLIP.sample_rate_hz
SOUND_SPEED = 343.0  # m/s


def span(seconds: float) -> int:
    """Samples in `seconds`."""
    return round(seconds * RATE)


def clock(num_samples: int) -> Wave:
    """Seconds since the first sample (T,)."""
    return np.arange(num_samples) / RATE


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """A draw that is uniform in pitch or loudness rather than in Hz or amplitude."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def rms(wave: Wave) -> float:
    """Root mean square, never zero."""
    return float(np.sqrt(np.mean(wave**2) + 1e-20))


def place(onto: Wave, piece: Wave, at_seconds: float) -> None:
    """Adds `piece` to `onto` in place from `at_seconds` on; what lies beyond the end is lost."""
    start = span(at_seconds)
    room = max(0, min(len(piece), len(onto) - start))
    onto[start : start + room] += piece[:room]


def wander(rng: Rng, num_samples: int, per_second: float) -> Wave:
    """A smooth random curve (T,) of roughly unit variance that turns about `per_second` times a second."""
    knots = rng.standard_normal(max(2, round(num_samples / RATE * per_second) + 2))
    place_in_knots = np.linspace(0, len(knots) - 1, num_samples)
    left = np.minimum(place_in_knots.astype(int), len(knots) - 2)
    ease = 0.5 - 0.5 * np.cos(np.pi * (place_in_knots - left))
    return knots[left] * (1 - ease) + knots[left + 1] * ease


def noise(rng: Rng, num_samples: int, db_per_octave: float = 0.0) -> Wave:
    """Noise of unit RMS whose spectrum falls (or rises) by `db_per_octave` above 50 Hz: 0 is white, -3 pink."""
    white = rng.standard_normal(num_samples)
    if db_per_octave == 0.0:
        return white
    spectrum = np.fft.rfft(white)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(num_samples, 1 / RATE), 50.0) / 50.0)
    wave = np.fft.irfft(spectrum * 10 ** (db_per_octave * octaves / 20), num_samples)
    return wave / rms(wave)


def band(wave: Wave, low_hz: float, high_hz: float, order: int = 2) -> Wave:
    """Keeps `low_hz` to `high_hz`; a bound of 0, or one near Nyquist, leaves that side open."""
    if low_hz > 0:
        wave = sosfilt(_butterworth(order, low_hz, "highpass"), wave)
    if high_hz < 0.48 * RATE:
        wave = sosfilt(_butterworth(order, high_hz, "lowpass"), wave)
    return wave


@lru_cache(maxsize=64)  # the design takes longer than the filtering of a short piece
def _butterworth(order: int, hz: float, side: str) -> Wave:
    return butter(order, hz, side, fs=RATE, output="sos")


def resonate(wave: Wave, hz: Sequence[float], width_hz: Sequence[float], gain: Sequence[float]) -> Wave:
    """Parallel two-pole resonators, unit gain at each resonance; alternate signs keep the valleys between them shallow."""
    out = np.zeros_like(wave)
    for index, (centre, width, level) in enumerate(zip(hz, width_hz, gain, strict=True)):
        if centre < 0.47 * RATE:
            radius, angle = np.exp(-np.pi * width / RATE), 2 * np.pi * centre / RATE
            unity = (1 - radius) * np.sqrt(1 - 2 * radius * np.cos(2 * angle) + radius**2)
            out += (-1) ** index * level * lfilter([unity], [1, -2 * radius * np.cos(angle), radius**2], wave)
    return out


def ring(pulses: Wave, hz: float, decay_seconds: float) -> Wave:
    """Every pulse starts a damped sine of the pulse's own height: h(t) = exp(-t / decay) sin(2 pi hz t)."""
    radius, angle = np.exp(-1 / (decay_seconds * RATE)), 2 * np.pi * min(hz, 0.47 * RATE) / RATE
    return lfilter([np.sin(angle)], [1, -2 * radius * np.cos(angle), radius**2], pulses)


def modes(hz: ArrayLike, decay_seconds: ArrayLike, gain: ArrayLike, seconds: float) -> Wave:
    """A struck body: sum of damped sines, one for each of its modes (modal synthesis; modes above Nyquist stay silent)."""
    centre, decay, level = (np.asarray(values, float)[:, None] for values in (hz, decay_seconds, gain))
    t = clock(span(seconds))
    return np.sum(level * (centre < 0.47 * RATE) * np.exp(-t / decay) * np.sin(2 * np.pi * centre * t), axis=0)


def grains(rng: Rng, per_second: Wave, hz: Sequence[float], decay_seconds: Sequence[float], spread: float) -> Wave:
    """Poisson micro-impacts at the rate `per_second` (T,), shared between grains that ring at `hz`.

    The height of an impact is log-normal with `spread`: most are faint and a few stand out, as with drops or gravel.
    """
    out, due = np.zeros(len(per_second)), np.cumsum(per_second) / (RATE * len(hz))
    for centre, decay in zip(hz, decay_seconds, strict=True):
        num_hits = rng.poisson(due[-1])
        hits = np.searchsorted(due, rng.uniform(0.0, due[-1], num_hits))
        heights = rng.lognormal(0.0, spread, num_hits) * rng.choice([-1.0, 1.0], num_hits)
        pulses = np.bincount(hits, heights, len(out)).astype(float)  # integers where nothing hits
        out += ring(pulses, centre, decay)
    return out


def rise_and_fall(num_samples: int, rise_seconds: float, fall_seconds: float) -> Wave:
    """An envelope (T,): a raised-cosine rise, then an exponential fall, faded to zero at its end."""
    t = clock(num_samples)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.minimum(t / rise_seconds, 1.0))
    fade = np.minimum((num_samples - np.arange(num_samples)) / (0.15 * num_samples + 1), 1.0)
    return rise * np.exp(-np.maximum(t - rise_seconds, 0.0) / fall_seconds) * fade


def room(rng: Rng, wave: Wave, reverberation_seconds: float, wet: float) -> Wave:
    """Adds early reflections and a tail that falls by 60 dB in `reverberation_seconds` (a third of it for the highs)."""
    num_samples = span(reverberation_seconds)
    t, hiss = clock(num_samples), rng.standard_normal(num_samples)
    lows = band(hiss, 0, 1200.0, order=1)
    tail = lows * np.exp(-6.9 * t / reverberation_seconds) + (hiss - lows) * np.exp(-20.7 * t / reverberation_seconds)
    early = rng.integers(1, max(2, num_samples // 3), 12)
    tail[early] += rng.standard_normal(12) * np.exp(-6.9 * t[early] / reverberation_seconds) * 2
    tail *= wet / np.sqrt(np.sum(tail**2) + 1e-12)
    return wave + oaconvolve(wave, tail)[: len(wave)]


def record(rng: Rng, wave: Wave, peak: float, floor_db: float, stop_seconds: float = CLIP.seconds) -> Wave:
    """What the microphone keeps: no DC, a peak of `peak`, a noise floor `floor_db` below it, silence after `stop_seconds`."""
    wave = band(wave, 25.0, 0.5 * RATE)
    wave = wave / (np.max(np.abs(wave)) + 1e-12)
    wave = wave + 10 ** (floor_db / 20) * noise(rng, len(wave), rng.uniform(-7.0, -1.0))
    num_kept = min(span(stop_seconds), len(wave))
    wave[num_kept:] = 0.0
    fade = min(num_kept, span(0.02))
    wave[num_kept - fade : num_kept] *= np.linspace(1.0, 0.0, fade)
    return wave * peak / (np.max(np.abs(wave)) + 1e-12)
