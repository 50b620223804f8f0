"""Precision, recall, density and coverage by hand, on one law, and on resamples."""

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.metrics import neighbours
from foleyray.metrics.neighbours import coverage, density, expected_coverage, precision, radii, recall
from foleyray.metrics.pairs import pairs

METRICS = (precision, recall, density, coverage)


def of(metric, generated: np.ndarray, reference: np.ndarray, **changes) -> float:
    return float(metric(pairs(generated, reference), np.ones((1, len(generated))), **changes)[0])


def test_on_a_line_they_are_what_one_counts():
    real, made = np.array([[0.0], [1], [3], [6]]), np.array([[0.5], [2.5], [20], [22]])
    np.testing.assert_allclose(radii(pairs(made, real).reference, 1), [1, 1, 2, 3])
    # balls of the real clips: [-1, 1], [0, 2], [1, 5], [3, 9]; of the generated: [-1.5, 2.5], [0.5, 4.5], [18, 22], [20, 24]
    assert of(precision, made, real, k=1) == 0.5
    assert of(density, made, real, k=1) == 0.75
    assert of(coverage, made, real, k=1) == 0.75
    assert of(recall, made, real, k=1) == 0.75


def test_identical_sets_are_covered_and_far_ones_are_not():
    rows = np.random.default_rng(0).standard_normal((40, 6))
    assert [of(metric, rows, rows) for metric in (precision, recall, coverage)] == [1, 1, 1]
    assert [of(metric, rows + 100, rows) for metric in METRICS] == [0, 0, 0, 0]


def test_one_sound_again_and_again_is_precise_but_recalls_and_covers_little():
    generator = np.random.default_rng(0)
    real = generator.standard_normal((60, 3))
    made = real.mean(axis=0) + 1e-3 * generator.standard_normal((60, 3))
    assert of(precision, made, real) == 1 and of(density, made, real) > 1
    assert of(recall, made, real) == 0 and of(coverage, made, real) < 0.5


@pytest.mark.parametrize(("real", "made", "dim"), [(100, 100, 8), (60, 30, 40)])
def test_the_coverage_of_one_law_is_the_expected_one_and_its_density_one(real, made, dim):
    generator = np.random.default_rng(0)
    sets = [(generator.standard_normal((made, dim)), generator.standard_normal((real, dim))) for _ in range(60)]
    assert np.mean([of(coverage, *both) for both in sets]) == pytest.approx(expected_coverage(real, made), abs=0.015)
    assert np.mean([of(density, *both) for both in sets]) == pytest.approx(1, abs=0.06)


def test_many_clips_of_one_law_cover_all_but_two_to_the_minus_k():
    for k in (1, 3, 5):
        assert expected_coverage(100, 100, k) == pytest.approx(1 - 2.0**-k, abs=0.01)
        assert expected_coverage(10**6, 10**6, k) == pytest.approx(1 - 2.0**-k, abs=1e-5)
    assert expected_coverage(3, 100, 5) == 1


def test_a_row_of_weights_is_the_set_with_clips_repeated():
    generator = np.random.default_rng(0)
    real, made = generator.standard_normal((2, 30, 4))
    weights = generator.multinomial(30, np.full(30, 1 / 30), size=8).astype(float)
    for metric in METRICS:
        found = metric(pairs(made, real), weights)
        for value, row in zip(found, weights, strict=True):
            assert value == pytest.approx(of(metric, np.repeat(made, row.astype(int), axis=0), real)), metric.__name__


def test_too_few_clips_are_refused():
    rows = np.random.default_rng(0).standard_normal((5, 4))
    with pytest.raises(UserError, match="neighbour 5 of a clip needs 6 clips a side, found 5"):
        of(coverage, rows, rows)
    with pytest.raises(UserError, match="needs 4 clips a side, found 3"):
        of(recall, rows[:3], rows)
    assert neighbours.COVERAGE_K == 5 and neighbours.MANIFOLD_K == 3
