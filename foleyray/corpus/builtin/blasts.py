"""Gun shots: the muzzle's blast wave, the bullet's crack, the mouth of the barrel as a thump, and what comes back."""

import numpy as np

from foleyray.corpus.builtin.acoustics import (
    CLIP,
    Rng,
    Wave,
    band,
    clock,
    log_uniform,
    noise,
    place,
    record,
    rise_and_fall,
    room,
    span,
)


def gun_shot(rng: Rng) -> Wave:
    """One to three shots of one gun in one place, from pocket pistol to rifle, from a bare room to a wide valley."""
    calibre, is_indoor = rng.uniform(0.2, 1.0), rng.random() < 0.5
    shots = rng.choice([1, 2, 3], p=[0.65, 0.2, 0.15])
    interval = log_uniform(rng, 0.18, 1.1)
    one = _shot(rng, calibre)
    wave, at = np.zeros(CLIP.num_samples), rng.uniform(0.0, 0.25)
    for _ in range(shots):
        place(wave, one * rng.uniform(0.8, 1.0), at)
        at += interval * rng.uniform(0.9, 1.15)
    wave = _indoors(rng, wave) if is_indoor else _outdoors(rng, wave)
    # A blast is louder than any recorder takes: its top is rounded off, which lifts the tail.
    drive = log_uniform(rng, 2.0, 12.0)
    wave = np.tanh(drive * wave / np.max(np.abs(wave)))
    stop = at - interval + log_uniform(rng, 0.5, 3.0) if rng.random() < 0.7 else CLIP.seconds
    return record(rng, wave, log_uniform(rng, 0.4, 0.95), rng.uniform(-75, -50), stop)


def _shot(rng: Rng, calibre: float) -> Wave:
    """Blast, fire and thump; a larger `calibre` (up to 1) is longer and lower."""
    seconds = 0.6
    num_samples = span(seconds)
    fire = noise(rng, num_samples, rng.uniform(-4.5, -1.5)) * rise_and_fall(num_samples, 0.0005, 0.02 + 0.06 * calibre)
    body = band(noise(rng, num_samples), 80.0, rng.uniform(500.0, 1400.0))
    body *= rise_and_fall(num_samples, 0.003, 0.05 + 0.1 * calibre)
    thump = band(noise(rng, num_samples), 40.0, 160.0) * rise_and_fall(num_samples, 0.004, 0.05 + 0.06 * calibre)
    out = 1.2 * fire + log_uniform(rng, 0.5, 2.0) * body + log_uniform(rng, 0.5, 3.0) * thump
    place(out, 3.0 * _friedlander(0.0004 + 0.0022 * calibre), 0.0)
    if rng.random() < 0.4:  # a supersonic bullet arrives before the sound of its shot
        lead = np.zeros(span(rng.uniform(0.004, 0.05)))
        out = np.concatenate([lead, out])
        place(out, log_uniform(rng, 0.5, 2.0) * _n_wave(0.0002 + 0.0004 * calibre), 0.0)
    return out


def _friedlander(positive_seconds: float) -> Wave:
    """Free-field blast wave (Friedlander 1946): p(t) = (1 - t / t+) exp(-t / t+)."""
    t = clock(span(positive_seconds * 8) + 2) / positive_seconds
    return (1 - t) * np.exp(-t)


def _n_wave(seconds: float) -> Wave:
    """The shock of a supersonic bullet (Whitham 1952): up at once, straight down, up at once."""
    return np.linspace(1.0, -1.0, max(4, span(seconds)))


def _outdoors(rng: Rng, wave: Wave) -> Wave:
    """Slap echoes from walls and tree lines, each duller than the one before, and a long low rumble."""
    out = wave.copy()
    delay = log_uniform(rng, 0.04, 0.35)
    for order in range(1, rng.integers(2, 7)):
        echo = band(wave, 0.0, 5000.0 / order, order=1) * log_uniform(rng, 0.08, 0.4) / order
        place(out, echo, delay * order * rng.uniform(0.85, 1.2))
    return room(rng, out, log_uniform(rng, 0.8, 4.0), log_uniform(rng, 0.04, 0.22))


def _indoors(rng: Rng, wave: Wave) -> Wave:
    """Close walls: dense early reflections and a bright tail."""
    out = wave.copy()
    for _ in range(8):
        seconds = rng.uniform(0.003, 0.05)
        place(out, wave * rng.choice([-1, 1]) * 0.6 * np.exp(-seconds / 0.03), seconds)
    return room(rng, out, log_uniform(rng, 0.4, 1.6), log_uniform(rng, 0.4, 1.4))
