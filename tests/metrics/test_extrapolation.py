"""The distance at infinitely many clips, on draws whose true distance is known."""

import numpy as np
import pytest

from foleyray.metrics.distances import frechet, moments
from foleyray.metrics.extrapolation import Extrapolation, fad_infinity, part_sizes
from foleyray.metrics.stats import EmbeddingStats
from tests.metrics.test_distances import as_clips, correlated

DIM = 24


def target() -> EmbeddingStats:
    """The law of `correlated` itself."""
    spread = np.geomspace(1, 0.1, DIM)
    return EmbeddingStats.from_moments(np.full(DIM, 0.2), np.diag(2 * spread**2), 10**6)


def test_parts_are_evenly_spaced_in_one_over_their_size():
    sizes = part_sizes(200)
    assert sizes[0] == 50 and sizes[-1] == 200 and len(sizes) == 6
    np.testing.assert_allclose(np.diff(1 / np.array(sizes)), (1 / 200 - 1 / 50) / 5, rtol=0.15)
    assert part_sizes(75) and not part_sizes(74)


def test_it_lies_nearer_the_truth_than_the_distance_of_all_clips():
    generator = np.random.default_rng(0)
    found, plain = [], []
    for _ in range(12):
        clips = as_clips(correlated(generator, 150, 4, DIM))
        found.append(fad_infinity(clips, target(), seed=0))
        plain.append(frechet(moments(clips.rows), target()))
    values = [one.value for one in found]
    assert all(one.refusal is None and one.r2 > 0.8 and one.slope > 0 and one.sizes[-1] == 150 for one in found)
    assert abs(np.mean(values)) < np.mean(plain) / 4  # the truth is 0
    assert Extrapolation.model_validate_json(found[0].model_dump_json()) == found[0]


def test_its_interval_holds_what_other_clips_give():
    generator = np.random.default_rng(3)
    found = [fad_infinity(as_clips(correlated(generator, 100, 3, DIM)), target(), seed=0) for _ in range(60)]
    values = np.array([one.value for one in found if one.value is not None])
    held = np.mean([one.interval[0] <= values.mean() <= one.interval[1] for one in found if one.interval])
    width = np.mean([one.interval[1] - one.interval[0] for one in found if one.interval])
    assert len(values) >= 40 and held >= 0.9
    assert 3 * values.std() < width < 8 * values.std()


def test_it_is_repeatable():
    clips = as_clips(correlated(np.random.default_rng(0), 90, 3, DIM))
    assert (
        fad_infinity(clips, target(), seed=1) == fad_infinity(clips, target(), seed=1) != fad_infinity(clips, target(), seed=2)
    )


def test_few_clips_and_points_on_no_line_are_refused():
    generator = np.random.default_rng(0)
    few = fad_infinity(as_clips(correlated(generator, 74, 2, DIM)), target(), seed=0)
    assert few.value is None and few.refusal == "needs 75 clips at least, found 74"
    # one dimension, far away: hardly any bias, and the noise of the parts above it
    windows = generator.standard_normal((100, 2, 1)) + 10
    odd = fad_infinity(as_clips(windows), EmbeddingStats.from_moments(np.zeros(1), np.ones((1, 1)), 1000), seed=0)
    assert odd.value is None and odd.r2 < 0.8 and "no line" in odd.refusal
    assert odd.slope == pytest.approx(odd.slope)
