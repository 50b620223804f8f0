"""Footsteps and typing: hard things that touch, as struck modes and showers of grains, in the rhythm of feet or fingers."""

from dataclasses import dataclass

import numpy as np

from foleyray.corpus.builtin.acoustics import (
    CLIP,
    Rng,
    Wave,
    band,
    grains,
    log_uniform,
    modes,
    noise,
    place,
    record,
    resonate,
    rise_and_fall,
    room,
    span,
)


@dataclass(frozen=True)
class Ground:
    """A floor under a shoe: how much of each of its four voices it has, and what each is like."""

    slab: float
    board: float
    gravel: float
    snow: float
    weight: float
    mode_hz: Wave
    knock_seconds: float
    rub: float
    rub_hz: float
    grain_hz: Wave
    grain_seconds: Wave


def footstep(rng: Rng) -> Wave:
    """Steps at an even pace; one ground, one pair of shoes, a left foot that differs from the right one."""
    ground = _ground(rng)
    pace, scatter = log_uniform(rng, 0.38, 0.85), rng.uniform(0.01, 0.06)
    roll = pace * rng.uniform(0.12, 0.3)  # seconds from heel to toe
    toe, toe_weight, limp = log_uniform(rng, 0.15, 0.8), rng.uniform(0.1, 0.5), rng.uniform(0.65, 1.0)
    contacts = Contacts.none()
    at, left = rng.uniform(0.0, pace), True
    while at < CLIP.seconds - 0.1:
        strength = (limp if left else 1.0) * rng.lognormal(0, 0.15)
        contacts.add(rng, ground, strength, 1.0, roll, at)
        contacts.add(rng, ground, strength * toe, toe_weight, roll, at + roll * rng.uniform(0.85, 1.15))
        at, left = at + pace * rng.normal(1, scatter), not left
    wave = _answer(rng, ground, contacts)
    wave = room(rng, wave, log_uniform(rng, 0.1, 1.0), log_uniform(rng, 0.08, 0.5))
    return record(rng, wave, log_uniform(rng, 0.12, 0.9), rng.uniform(-70, -32))


def _ground(rng: Rng) -> Ground:
    # A low concentration: mostly one voice, sometimes two, such as grit on concrete.
    slab, board, gravel, snow = rng.dirichlet([0.35] * 4)
    return Ground(
        slab=slab,
        board=board,
        gravel=gravel,
        snow=snow,
        weight=log_uniform(rng, 0.3, 1.5),
        mode_hz=log_uniform(rng, 90.0, 260.0) * np.sort(rng.uniform(1.0, 9.0, 7)),
        knock_seconds=log_uniform(rng, 0.006, 0.02),
        rub=log_uniform(rng, 0.05, 0.35),
        rub_hz=log_uniform(rng, 1500.0, 8000.0),
        grain_hz=log_uniform(rng, 600.0, 2000.0) * rng.uniform(0.6, 3.0, 6),
        grain_seconds=rng.uniform(0.0003, 0.0008, 6),
    )


@dataclass(frozen=True)
class Contacts:
    """How hard the feet press at every moment (T,): the weight that lands, the heel's edge, the sole that rolls."""

    thud: Wave
    knock: Wave
    press: Wave

    @staticmethod
    def none() -> "Contacts":
        return Contacts(*np.zeros((3, CLIP.num_samples)))

    def add(self, rng: Rng, ground: Ground, strength: float, weight: float, roll: float, at_seconds: float) -> None:
        num_samples = span(0.3)
        thud = rise_and_fall(num_samples, 0.003, rng.uniform(0.015, 0.03))
        knock = rise_and_fall(num_samples, 0.0015, ground.knock_seconds * rng.uniform(0.8, 1.2))
        place(self.thud, strength * weight * ground.weight * thud, at_seconds)
        place(self.knock, strength * knock, at_seconds)
        place(self.press, strength * rise_and_fall(num_samples, roll * 0.35, roll * 0.5), at_seconds)


def _answer(rng: Rng, ground: Ground, contacts: Contacts) -> Wave:
    """What the ground makes of them: every surface is noise or grains, excited by the contacts and coloured by itself."""
    hiss = noise(rng, CLIP.num_samples)
    thud, knock = 3 * band(hiss, 50.0, 420.0) * contacts.thud, band(hiss, 250.0, 4500.0) * contacts.knock
    widths, gains = ground.mode_hz / 7, rng.uniform(0.5, 1.5, len(ground.mode_hz))
    board = 4 * resonate(knock + 0.5 * thud, ground.mode_hz.tolist(), widths.tolist(), gains.tolist())
    rub = band(hiss, 400.0, ground.rub_hz) * contacts.press * ground.rub
    ring_seconds = ground.grain_seconds.tolist()
    pebbles = grains(rng, 2500 * contacts.press, ground.grain_hz.tolist(), ring_seconds, 0.9)
    crystals = band(grains(rng, 6000 * contacts.press, (0.8 * ground.grain_hz).tolist(), ring_seconds, 0.5), 150.0, 5000.0)
    hard = ground.slab * (0.8 * knock + 0.6 * thud) + ground.board * (board + 0.3 * knock + 0.8 * thud)
    loose = ground.gravel * (pebbles + 0.3 * thud) + ground.snow * (0.8 * crystals * contacts.press + 0.3 * thud)
    return hard + loose + (ground.slab + ground.board) * rub


@dataclass(frozen=True)
class Keys:
    """A keyboard: the modes of its plate and case, and what one switch adds."""

    case_hz: Wave
    plate_hz: Wave
    thock: float
    ring_seconds: float
    snap: float
    snap_hz: float
    travel_seconds: float
    click_hz: tuple[float, float]
    click: float


def keyboard(rng: Rng) -> Wave:
    """Typing: words of key presses and releases with a broad space bar between them, on one of many keyboards."""
    keys, interval, hold = _keys(rng), log_uniform(rng, 0.1, 0.4), log_uniform(rng, 0.06, 0.14)
    presses, releases = [_press(rng, keys) for _ in range(8)], [_strike(rng, keys, 1.35) for _ in range(8)]
    space, space_up = _press_space(rng, keys), _strike(rng, keys, 0.9)
    wave, at, letters = np.zeros(CLIP.num_samples), rng.uniform(0.0, 0.5), rng.integers(1, 8)
    while at < CLIP.seconds - 0.05:
        key, is_space = rng.integers(8), letters == 0
        force = rng.lognormal(0.25 if is_space else 0.0, 0.22)
        down, up = (space, space_up) if is_space else (presses[key], releases[key])
        place(wave, force * down, at)
        place(wave, force * rng.uniform(0.2, 0.5) * up, at + hold * rng.lognormal(0, 0.2))
        pause = rng.uniform(0.3, 1.2) if is_space and rng.random() < 0.3 else 0.0
        at += interval * rng.lognormal(0, 0.28) + pause
        letters = rng.integers(2, 8) if is_space else letters - 1
    wave = room(rng, wave, log_uniform(rng, 0.12, 0.4), log_uniform(rng, 0.08, 0.35))
    return record(rng, wave, log_uniform(rng, 0.1, 0.6), rng.uniform(-62, -34))


def _keys(rng: Rng) -> Keys:
    base_hz = log_uniform(rng, 180.0, 520.0)
    return Keys(
        case_hz=base_hz * np.sort(rng.uniform(1.0, 4.5, 4)),
        plate_hz=np.sort(rng.uniform(1100.0, 6500.0, 6)),
        thock=log_uniform(rng, 0.1, 0.7),
        ring_seconds=log_uniform(rng, 0.0008, 0.004),
        snap=rng.choice([0.0, 1.0], p=[0.55, 0.45]) * log_uniform(rng, 0.4, 1.6),
        snap_hz=log_uniform(rng, 2800.0, 6500.0),
        travel_seconds=rng.uniform(0.006, 0.022),
        click_hz=(log_uniform(rng, 250.0, 2000.0), log_uniform(rng, 2500.0, 10000.0)),
        click=log_uniform(rng, 0.3, 1.5),
    )


def _strike(rng: Rng, keys: Keys, depth: float) -> Wave:
    """Cap on plate. Every key sits elsewhere on the plate, so it excites the same modes in other proportions."""
    seconds = 0.09
    case = modes(keys.case_hz * depth * rng.normal(1, 0.02), np.full(4, 0.006), rng.uniform(0.2, 1.0, 4) * keys.thock, seconds)
    plate = modes(keys.plate_hz * rng.normal(1, 0.015), np.full(6, keys.ring_seconds), rng.uniform(0.0, 0.7, 6), seconds)
    click = noise(rng, span(seconds)) * rise_and_fall(span(seconds), 0.0005, rng.uniform(0.0015, 0.006))
    return case + plate + keys.click * band(click, *keys.click_hz)


def _press(rng: Rng, keys: Keys) -> Wave:
    """The spring snaps, then the cap lands."""
    out = np.zeros(span(0.13))
    place(out, keys.snap * modes([keys.snap_hz, keys.snap_hz * 1.47], [0.0012, 0.0009], [1.0, 0.6], 0.03), 0.0)
    place(out, _strike(rng, keys, 1.0), keys.travel_seconds * rng.uniform(0.8, 1.2))
    return out


def _press_space(rng: Rng, keys: Keys) -> Wave:
    """A longer, lower cap; the wire below it rattles against its clips."""
    out = np.zeros(span(0.13))
    place(out, _strike(rng, keys, 0.6), keys.travel_seconds)
    place(out, 0.5 * _strike(rng, keys, 0.75), keys.travel_seconds + rng.uniform(0.004, 0.012))
    return out
