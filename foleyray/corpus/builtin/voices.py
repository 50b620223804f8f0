"""Barks, coughs and sneezes: a source (vocal folds, breath) through the resonances of a vocal tract.

Source-filter theory of Fant (1960); the formants of a tract of length L closed at one end lie at (2n - 1) c / 4L.
"""

from dataclasses import dataclass

import numpy as np

from foleyray.corpus.builtin.acoustics import (
    CLIP,
    RATE,
    SOUND_SPEED,
    Rng,
    Wave,
    band,
    log_uniform,
    noise,
    place,
    record,
    resonate,
    rise_and_fall,
    rms,
    room,
    span,
    wander,
)


def folds(rng: Rng, pitch_hz: Wave, db_per_octave: float, roughness: float) -> Wave:
    """Vocal folds at `pitch_hz` (T,): harmonics that fall by `db_per_octave`.

    `roughness` 0 to 1 shakes the period and adds its doubling, which the ear takes for hoarseness or growl.
    """
    shaken = pitch_hz * (1 + roughness * 0.06 * wander(rng, len(pitch_hz), 150.0))
    phase: Wave = 2 * np.pi * np.cumsum(shaken) / RATE
    harmonics = np.arange(1.0, max(2, int(min(60, 0.46 * RATE / pitch_hz.max()))) + 1)
    wave: Wave = harmonics ** (db_per_octave / 6.02) @ np.sin(harmonics[:, None] * phase)
    return wave * (1 + roughness * np.cos(phase / 2 + rng.uniform(0, 2 * np.pi)))


def tract(wave: Wave, formants_hz: Wave, sharpness: float, fading: float) -> Wave:
    """Vocal tract: each formant `sharpness` times narrower than its frequency and `fading` times as loud as the one below."""
    gains = fading ** np.arange(len(formants_hz))
    return resonate(wave, formants_hz.tolist(), (formants_hz / sharpness).tolist(), gains.tolist())


def quarter_wave(length_m: float, count: int) -> Wave:
    """The first `count` formants of a tract of `length_m`."""
    return np.arange(1.0, 2 * count, 2) * SOUND_SPEED / (4 * length_m)


def dog_bark(rng: Rng) -> Wave:
    """One to six barks of one dog: size sets tract and pitch, mood sets contour, hoarseness and rhythm."""
    length_m = log_uniform(rng, 0.08, 0.23)
    pitch_hz = np.clip(640.0 * (0.14 / length_m) ** 0.5 * log_uniform(rng, 0.75, 1.35), 380.0, 950.0)
    throat = Throat(
        length_m,
        fall_db=rng.uniform(-11.0, -3.0),
        hoarse=rng.uniform(0.15, 0.8),
        breath=log_uniform(rng, 0.1, 0.7),
        depth=rng.uniform(0.25, 0.5),
        top=rng.uniform(0.15, 0.5),
    )
    seconds, pause = log_uniform(rng, 0.09, 0.2), log_uniform(rng, 0.2, 0.9)
    wave, at = np.zeros(CLIP.num_samples), rng.uniform(0.0, 0.4)
    for _ in range(rng.choice(np.arange(1, 7), p=[0.08, 0.14, 0.22, 0.22, 0.18, 0.16])):
        bark = _bark(rng, throat, pitch_hz * rng.normal(1, 0.05), seconds * rng.uniform(0.8, 1.2))
        place(wave, bark * rng.uniform(0.5, 1.0), at)
        at += len(bark) / RATE + pause * rng.uniform(0.6, 1.5)
    wave = room(rng, wave, log_uniform(rng, 0.2, 1.2), log_uniform(rng, 0.15, 0.8))
    stop = at + rng.uniform(0.0, 0.5) if rng.random() < 0.35 else CLIP.seconds
    return record(rng, wave, log_uniform(rng, 0.35, 0.95), rng.uniform(-75, -50), stop)


@dataclass(frozen=True)
class Throat:
    """One dog: its tract, how dark, hoarse and breathy it is, and the arch of its pitch (depth, place of the top)."""

    length_m: float
    fall_db: float
    hoarse: float
    breath: float
    depth: float
    top: float


def _bark(rng: Rng, throat: Throat, pitch_hz: float, seconds: float) -> Wave:
    num_samples = span(seconds)
    x, top = np.linspace(0.0, 1.0, num_samples), throat.top
    arch = np.sin(np.pi / 2 * np.where(x < top, x / top, 1 - (x - top) / (1 - top)))
    source = folds(rng, pitch_hz * (1 - throat.depth + throat.depth * arch), throat.fall_db, throat.hoarse)
    source = source / rms(source) + throat.breath * noise(rng, num_samples, -4.0)
    # The mouth opens and shuts ("wow"): two fixed tracts, crossfaded, are near enough to one that moves.
    formants = quarter_wave(throat.length_m, 5) * rng.normal(1, 0.04, 5)
    shut, agape = tract(source, formants * 0.8, 4.0, 0.4), tract(source, formants * 1.2, 5.0, 0.4)
    voiced = band(shut * (1 - arch) + agape * arch, 0.7 * pitch_hz, 0.5 * RATE)
    return voiced * rise_and_fall(num_samples, rng.uniform(0.01, 0.05), seconds * rng.uniform(0.5, 1.8))


def sneeze_cough(rng: Rng) -> Wave:
    """One person, from child to large adult, who coughs one to four times or sneezes one to three times."""
    length_m = log_uniform(rng, 0.12, 0.18)
    pitch_hz = 130.0 * (0.18 / length_m) ** 1.7 * log_uniform(rng, 0.8, 1.7)
    sharpness = rng.uniform(5.5, 12.0)
    sneezes = rng.random() < 0.35
    wave, at = np.zeros(CLIP.num_samples), rng.uniform(0.0, 0.5)
    for _ in range(rng.integers(1, 4) if sneezes else rng.choice([1, 2, 3, 4], p=[0.12, 0.28, 0.3, 0.3])):
        piece = (_sneeze if sneezes else _cough)(rng, length_m, pitch_hz, sharpness)
        place(wave, piece * rng.uniform(0.6, 1.0), at)
        at += len(piece) / RATE + log_uniform(rng, 0.08, 0.6)
    wave = room(rng, wave, log_uniform(rng, 0.1, 0.5), log_uniform(rng, 0.08, 0.45))
    wave = np.tanh(log_uniform(rng, 0.5, 3.0) * wave / np.max(np.abs(wave)))  # close to the microphone, and loud
    stop = at + rng.uniform(0.0, 0.6) if rng.random() < 0.55 else CLIP.seconds
    return record(rng, wave, log_uniform(rng, 0.5, 0.95), rng.uniform(-75, -50), stop)


def _cough(rng: Rng, length_m: float, pitch_hz: float, sharpness: float) -> Wave:
    """The three phases of a cough (Morice et al. 2007): explosion, steady airflow, voiced close."""
    seconds, drop = rng.uniform(0.18, 0.42), rng.uniform(0.15, 0.5)
    num_samples = span(seconds)
    x = np.linspace(0.0, 1.0, num_samples)
    air = noise(rng, num_samples, rng.uniform(-4.5, -0.5))
    explosion = air * rise_and_fall(num_samples, rng.uniform(0.005, 0.03), rng.uniform(0.025, 0.07)) * rng.uniform(0.5, 2.8)
    airflow = air * rise_and_fall(num_samples, rng.uniform(0.015, 0.07), seconds * rng.uniform(0.25, 0.9))
    voice = folds(rng, pitch_hz * (1 + drop - 1.5 * drop * x), rng.uniform(-9.0, -3.5), rng.uniform(0.2, 0.9))
    voice *= np.clip((x - rng.uniform(0.05, 0.45)) * 12, 0, 1)
    voice *= rise_and_fall(num_samples, 0.01, seconds * rng.uniform(0.4, 1.3))
    formants = quarter_wave(length_m, 5) * rng.normal([1.4, 0.86, 1.0, 1.0, 1.0], 0.05)
    breath = explosion + airflow
    voiced = log_uniform(rng, 0.2, 2.2) * voice / (rms(voice) + 0.05)
    return tract(breath + voiced, formants, sharpness, rng.uniform(0.4, 0.75)) + 0.12 * band(breath, 3500.0, 9500.0)


def _sneeze(rng: Rng, length_m: float, pitch_hz: float, sharpness: float) -> Wave:
    """A gasp that grows ("ah"), a stop, then air forced through teeth and lips ("choo")."""
    gasp, choo = _gasp(rng, length_m, pitch_hz, sharpness), _choo(rng, length_m, pitch_hz, sharpness)
    stop = span(rng.uniform(0.02, 0.12))
    return np.concatenate([gasp * log_uniform(rng, 0.1, 0.4), np.zeros(stop), choo])


def _gasp(rng: Rng, length_m: float, pitch_hz: float, sharpness: float) -> Wave:
    num_samples = span(rng.uniform(0.25, 0.7))
    x = np.linspace(0.0, 1.0, num_samples)
    voice = folds(rng, pitch_hz * (1.1 + 0.5 * x), -7.0, 0.3) * x * log_uniform(rng, 0.1, 1.0)
    formants = quarter_wave(length_m, 4) * np.array([1.5, 0.85, 1.0, 1.0])
    return tract(noise(rng, num_samples, -1.0) + voice, formants, sharpness, 0.6) * x**1.5 * np.clip((1 - x) * 20, 0, 1)


def _choo(rng: Rng, length_m: float, pitch_hz: float, sharpness: float) -> Wave:
    num_samples = span(rng.uniform(0.25, 0.45))
    teeth_hz = log_uniform(rng, 1900.0, 3600.0) * 0.16 / length_m
    air = noise(rng, num_samples)
    hiss = resonate(air, [teeth_hz, teeth_hz * 1.7], [teeth_hz * 0.4, teeth_hz * 0.7], [1.0, 0.6])
    hiss = hiss * rise_and_fall(num_samples, rng.uniform(0.004, 0.015), rng.uniform(0.05, 0.11)) * 1.8
    voice = folds(rng, pitch_hz * np.linspace(2.0, 0.9, num_samples), -6.0, rng.uniform(0.1, 0.6))
    formants = quarter_wave(length_m, 4) * np.array([0.85, 0.7, 0.95, 1.0])
    vowel = tract(voice * log_uniform(rng, 0.15, 0.8) + 0.6 * air, formants, sharpness, 0.6)
    return hiss + vowel * rise_and_fall(num_samples, 0.03, rng.uniform(0.1, 0.25))
