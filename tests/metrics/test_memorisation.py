"""Planted training clips are found, by every ear, however they were disguised."""

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.metrics.ears import Nearest, correlation_peaks, mel_distances, nearest_in_sound
from foleyray.metrics.intervals import draws
from foleyray.metrics.memorisation import Memorisation, Recordings, judged, memorisation

RATE, LENGTH, DIM = 22_050, 22_050, 16
PLANTED = {3: 40, 11: 7, 12: 7, 20: 88, 29: 61}
"""Place among the generated clips -> place of the training clip that was copied."""


def knocks(generator: np.random.Generator, count: int) -> np.ndarray:
    """A noise burst of a colour, a time and a decay of its own, float32 (count, LENGTH), over a little noise."""
    time = np.arange(LENGTH) / RATE
    waves = np.empty((count, LENGTH))
    for index in range(count):
        start, decay, hz = generator.uniform(0.1, 0.5), generator.uniform(0.02, 0.3), generator.uniform(200, 5000)
        envelope = np.where(time > start, np.exp(-(time - start).clip(0) / decay), 0)
        tone = np.sin(2 * np.pi * hz * time) + 0.5 * generator.standard_normal(LENGTH)
        waves[index] = 0.2 * envelope * tone + 1e-3 * generator.standard_normal(LENGTH)
    return waves.astype(np.float32)


def recordings(generator: np.random.Generator, count: int) -> Recordings:
    return Recordings(knocks(generator, count), generator.standard_normal((count, DIM)))


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Memorisation]:
    generator = np.random.default_rng(0)
    training, held_out, made = recordings(generator, 100), recordings(generator, 40), recordings(generator, 30)
    for place, source in PLANTED.items():
        made.waves[place], made.means[place] = training.waves[source], 3 * training.means[source]
    made.waves[3] *= -0.3  # quieter and upside down
    made.waves[11] = np.roll(made.waves[11], 1500)  # later
    made.waves[20] += 2e-3 * generator.standard_normal(LENGTH).astype(np.float32)
    found = memorisation(made, held_out, training, sample_rate_hz=RATE, seed=0)
    return {one.ear: one for one in found}


@pytest.mark.parametrize("ear", ["embedding", "mel", "wave"])
def test_the_five_copies_are_flagged_and_lead_the_list(verdicts, ear):
    found = verdicts[ear]
    assert set(PLANTED) <= set(found.closer) and len(found.closer) <= len(PLANTED) + 4  # 5 % of 25 honest ones, by chance
    assert {match.generated: match.training for match in found.closest[:5]} == PLANTED
    assert found.closer_share.value == pytest.approx(len(found.closer) / 30) and len(found.closest) == 10
    assert all(match.distance < found.threshold for match in found.closest[:5])
    assert Memorisation.model_validate_json(found.model_dump_json()) == found


def test_a_generator_that_copies_nothing_is_as_far_as_held_out_clips():
    generator = np.random.default_rng(1)
    training, held_out, made = (recordings(generator, count) for count in (80, 100, 60))
    for found in memorisation(made, held_out, training, sample_rate_hz=RATE, seed=0):
        assert found.closer_share.value < 0.2, found.ear


def test_judgement_counts_what_lies_under_the_fifth_percentile():
    held_out = Nearest(np.zeros(101, np.int64), np.linspace(1, 2, 101))
    found = judged("wave", Nearest(np.arange(4), np.array([3, 1.04, 1.06, 0.1])), held_out, draws(4, 50, seed=0))
    assert found.threshold == pytest.approx(1.05) and found.closer == (1, 3) and found.closer_share.value == 0.5
    assert found.closer_share.interval[0] == 0 and found.closer_share.interval[1] == 1  # four clips tell little
    assert [match.generated for match in found.closest] == [3, 1, 2, 0]


def test_correlation_peaks_are_the_best_of_all_lags():
    generator = np.random.default_rng(0)
    wave, others = generator.standard_normal(50), generator.standard_normal((3, 41))
    direct = [
        np.abs(np.correlate(wave, other, "full")).max() / np.linalg.norm(wave) / np.linalg.norm(other) for other in others
    ]
    assert correlation_peaks(wave, others) == pytest.approx(direct)
    assert correlation_peaks(wave, np.zeros((1, 41)))[0] == 0
    assert correlation_peaks(wave, -0.2 * wave[None])[0] == pytest.approx(1)


def test_mel_distances_ignore_level_and_lag_and_know_no_blocks():
    generator = np.random.default_rng(0)
    training = knocks(generator, 70)  # more than one block
    shifted = 0.5 * np.roll(training[66:68], 8 * 512, axis=1)
    found = mel_distances(shifted, training, RATE)
    assert found.shape == (2, 70) and found.argmin(axis=1).tolist() == [66, 67]
    np.testing.assert_allclose(found[:, 64:], mel_distances(shifted, training[64:], RATE), rtol=1e-3, atol=1e-3)
    assert found.min() < 0.1 * np.median(found)


def test_int16_and_float_sound_alike():
    waves = knocks(np.random.default_rng(0), 12)
    stored = np.round(waves * 32768).astype(np.int16)
    by_mel, by_wave = nearest_in_sound(stored, waves, RATE)
    assert by_mel.place.tolist() == by_wave.place.tolist() == list(range(12))
    assert by_wave.distance.max() < 1e-3


def test_sides_that_do_not_fit_are_refused():
    good = recordings(np.random.default_rng(0), 4)
    for bad, message in (
        (Recordings(good.waves, good.means[:3]), "4 generated waves and 3 embeddings"),
        (Recordings(good.waves[:, :900], good.means), "900 samples long"),
        (Recordings(good.waves * np.float32(np.nan), good.means), "not finite"),
        (Recordings(good.waves, good.means[:, :3]), "3 and 16 dimensions"),
    ):
        with pytest.raises(UserError, match=message):
            memorisation(bad, good, good, sample_rate_hz=RATE, seed=0)
