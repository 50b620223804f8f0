"""Sounds that do not end within a clip: engines on the road, and rain."""

import numpy as np

from foleyray.corpus.builtin.acoustics import (
    CLIP,
    RATE,
    SOUND_SPEED,
    Rng,
    Wave,
    band,
    clock,
    grains,
    log_uniform,
    noise,
    record,
    resonate,
    rms,
    room,
    span,
    wander,
)

LEAD_SECONDS = 0.8  # sound under way before the clip begins: a car 200 m off is heard 0.6 s late


def moving_motor_vehicle(rng: Rng) -> Wave:
    """A four-stroke engine with its exhaust, tyres and wind: passing by, standing, or heard from inside the car."""
    scene = rng.choice(["passing", "standing", "inside"], p=[0.5, 0.25, 0.25])
    num_samples = CLIP.num_samples + span(LEAD_SECONDS)
    engine = _engine(rng, num_samples, _firing_hz(rng, num_samples, is_standing=scene == "standing"))
    road = _road(rng, num_samples)
    if scene == "passing":
        wave = _pass_by(rng, engine + log_uniform(rng, 0.3, 3.0) * road)
    elif scene == "standing":
        wave = engine[span(LEAD_SECONDS) :] + 0.15 * road[span(LEAD_SECONDS) :]
    else:
        muffled = band(engine, 0.0, log_uniform(rng, 400.0, 1500.0), order=1) + log_uniform(rng, 0.25, 1.0) * road
        wave = muffled[span(LEAD_SECONDS) :]
    wave = room(rng, wave, log_uniform(rng, 0.1, 0.5), 0.2)
    return record(rng, wave, log_uniform(rng, 0.12, 0.7), rng.uniform(-60, -35))


def _firing_hz(rng: Rng, num_samples: int, is_standing: bool) -> Wave:
    """Ignitions a second (T,): steady with a little hunting, or climbing and falling with the driver's foot."""
    base = log_uniform(rng, 28.0, 50.0) if is_standing else log_uniform(rng, 32.0, 120.0)
    sweep = 0.0 if is_standing else rng.uniform(-0.25, 0.5)
    drift = 0.012 * wander(rng, num_samples, 1.5) + 0.004 * wander(rng, num_samples, 12.0)
    return base * np.exp(sweep * np.linspace(-0.5, 0.5, num_samples) + drift)


def _engine(rng: Rng, num_samples: int, firing_hz: Wave) -> Wave:
    """Pressure pulses of the cylinders through pipe and silencer, with combustion noise that comes in their beat."""
    cylinders = int(rng.choice([1, 2, 3, 4, 4, 6, 8]))
    table = _cycle(rng, cylinders, firing_hz.mean())
    turns = np.cumsum(firing_hz / cylinders) / RATE  # of the four-stroke cycle, two of the crank
    pulses = np.interp(turns % 1.0, np.linspace(0, 1, len(table)), table)
    pulses *= 1 + 0.12 * wander(rng, num_samples, firing_hz.mean())
    beat = np.maximum(pulses / (np.abs(pulses).max() + 1e-9), 0.0) ** 2
    combustion = band(noise(rng, num_samples, -2.0), log_uniform(rng, 150.0, 900.0), log_uniform(rng, 1500.0, 6000.0)) * beat
    pipe_hz = SOUND_SPEED / (4 * rng.uniform(0.8, 3.0)) * np.array([1, 3, 5, 7, 11, 15]) * rng.normal(1, 0.05, 6)
    loudness = 0.8 ** np.arange(6) * rng.uniform(0.5, 1.5, 6)
    exhaust = resonate(pulses, pipe_hz.tolist(), (pipe_hz * 0.25).tolist(), loudness.tolist()) + 0.3 * pulses
    exhaust /= rms(exhaust)
    return exhaust + log_uniform(rng, 0.08, 0.7) * combustion / rms(combustion)


def _cycle(rng: Rng, cylinders: int, firing_hz: float) -> Wave:
    """One four-stroke cycle as a table that closes on itself: a pulse a cylinder, no two cylinders alike."""
    x = np.arange(4096) / 4096
    width = rng.uniform(0.08, 0.3) / cylinders
    table = np.zeros(4096)
    for index in range(cylinders):
        since = (x - (index + rng.normal(0, 0.02)) / cylinders) % 1.0
        table += rng.normal(1, 0.12) * (since / width) * np.exp(1 - since / width)
    spectrum = np.fft.rfft(table - table.mean())
    spectrum[max(4, int(3500.0 * cylinders / firing_hz)) :] = 0  # nothing for the clip's rate to fold back
    closed = np.fft.irfft(spectrum, 4096)
    return np.append(closed, closed[0])


def _road(rng: Rng, num_samples: int) -> Wave:
    """Tyres (a broad bump near 1 kHz) and wind (falling from the lowest notes up)."""
    tyre_hz = log_uniform(rng, 550.0, 1300.0)
    tyres = resonate(noise(rng, num_samples), [tyre_hz], [tyre_hz * rng.uniform(0.8, 1.8)], [1.0])
    wind = noise(rng, num_samples, rng.uniform(-8.0, -4.0))
    wave = tyres / rms(tyres) + log_uniform(rng, 0.1, 1.5) * wind
    return wave * (1 + 0.15 * wander(rng, num_samples, 6.0))


def _pass_by(rng: Rng, source: Wave) -> Wave:
    """A straight drive past the microphone: 1/r, Doppler by the travel time of sound, and the mirror of the road.

    Direct path and road reflection differ by a changing delay, which is the comb that sweeps through a pass-by.
    """
    t = clock(CLIP.num_samples)
    speed, nearest_m, ears_m, exhaust_m = rng.uniform(6, 28), log_uniform(rng, 2.5, 15.0), rng.uniform(0.8, 2.5), 0.5
    along = speed * (t - rng.uniform(-0.5, 4.5))
    out = np.zeros(CLIP.num_samples)
    dull = band(source, 0.0, 1200.0, order=1)
    for height, strength in ((ears_m - exhaust_m, 1.0), (ears_m + exhaust_m, rng.uniform(0.3, 0.8))):
        metres = np.sqrt(along**2 + nearest_m**2 + height**2)
        heard = (t + LEAD_SECONDS - metres / SOUND_SPEED) * RATE
        near = np.exp(-metres / 60.0)  # the air keeps the highs to itself
        index = np.arange(len(source))
        out += strength / metres * (near * np.interp(heard, index, source) + (1 - near) * np.interp(heard, index, dull))
    return out


def rain(rng: Rng) -> Wave:
    """Countless far drops as hiss, near ones one by one, on a ground between leaves, roof and puddle."""
    num_samples = CLIP.num_samples
    hiss = noise(rng, num_samples, rng.uniform(-4.5, 0.5))
    hiss = band(hiss, log_uniform(rng, 60.0, 900.0), log_uniform(rng, 5000.0, 10500.0))
    swell = np.exp(rng.uniform(0.02, 0.3) * wander(rng, num_samples, log_uniform(rng, 0.4, 3.0)))
    per_second = swell * log_uniform(rng, 8.0, 1500.0)
    ticks = grains(rng, per_second, rng.uniform(800.0, 9000.0, 5).tolist(), rng.uniform(0.0002, 0.0012, 5).tolist(), 0.9)
    wave = hiss * swell / rms(hiss) + _as_loud(ticks, log_uniform(rng, 0.1, 1.2))
    ground = rng.choice(["puddle", "roof", "leaves"])
    if ground == "puddle":  # bubbles ring at Minnaert's pitch: 3.3 m/s over the radius of 0.6 to 3 mm
        bubble_hz = 3.26 / rng.uniform(0.0006, 0.003, 8)
        bubbles = grains(rng, per_second * 0.1 + 2, bubble_hz.tolist(), (25.0 / bubble_hz).tolist(), 0.7)
        wave = wave + _as_loud(bubbles, log_uniform(rng, 0.05, 0.4))
    elif ground == "roof":
        sheet_hz = log_uniform(rng, 200.0, 700.0) * rng.uniform(1.0, 8.0, 8)
        drum = grains(rng, per_second * 0.3 + 4, sheet_hz.tolist(), rng.uniform(0.003, 0.012, 8).tolist(), 0.7)
        wave = wave + _as_loud(drum, log_uniform(rng, 0.1, 0.6))
    return record(rng, wave, log_uniform(rng, 0.1, 0.8), -70.0)


def _as_loud(wave: Wave, loudness: float) -> Wave:
    return wave * loudness / rms(wave)
