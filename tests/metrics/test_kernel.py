"""KAD against its definition, its mean of nothing for one law, and what it refuses."""

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.metrics.kernel import bandwidth, kad
from foleyray.metrics.pairs import mean_of_pairs, pairs


def of(generated: np.ndarray, reference: np.ndarray) -> float:
    return float(kad(pairs(generated, reference), np.ones((1, len(generated))))[0])


def test_it_is_the_unbiased_discrepancy_pair_by_pair():
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((7, 4)), generator.standard_normal((5, 4)) + 0.5
    width = np.median([np.linalg.norm(x[i] - x[j]) for i in range(7) for j in range(i)])

    def mean(a, b, same):
        values = [
            np.exp(-np.square(p - q).sum() / (2 * width**2))
            for i, p in enumerate(a)
            for j, q in enumerate(b)
            if not same or i != j
        ]
        return np.mean(values)

    assert bandwidth(pairs(y, x).reference) == pytest.approx(width)
    assert of(y, x) == pytest.approx(100 * (mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)))


def test_two_halves_of_one_set_average_to_nothing_and_another_law_does_not():
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((80, 12))
    halves = [of(rows[order[:40]], rows[order[40:]]) for order in (generator.permutation(80) for _ in range(200))]
    error = np.std(halves) / np.sqrt(len(halves))
    assert abs(np.mean(halves)) < max(4 * error, 0.02) and min(halves) < 0 < max(halves)
    assert of(rows[:40] + 0.5, rows[40:]) > 10 * np.std(halves)


def test_a_clip_drawn_twice_is_no_pair_with_itself():
    values = np.array([[9.0, 1, 2], [1, 9, 3], [2, 3, 9]])
    assert mean_of_pairs(values, np.array([[1.0, 1, 1], [2, 1, 0], [3, 0, 0]])) == pytest.approx([2, 1, 0])


def test_sets_without_a_scale_or_that_do_not_compare_are_refused():
    still, rows = np.ones((6, 4)), np.random.default_rng(0).standard_normal((6, 4))
    with pytest.raises(UserError, match="the same sound"):
        of(rows, still)
    with pytest.raises(UserError, match="4 and 3 dimensions"):
        pairs(rows, rows[:, :3])
    with pytest.raises(UserError, match="reference embeddings hold numbers that are not finite"):
        pairs(rows, rows * np.nan)
    with pytest.raises(UserError, match="two generated ones at least, found 1"):
        pairs(rows[:1], rows)
