"""Diversity and the Vendi score against their definitions and in their extremes."""

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.metrics.diversity import cosines, diversity, effective_number, spread, vendi


def test_diversity_is_the_mean_over_all_pairs():
    means = np.random.default_rng(0).standard_normal((9, 5))
    units = means / np.linalg.norm(means, axis=1, keepdims=True)
    pairs = [1 - units[i] @ units[j] for i in range(9) for j in range(i)]
    assert diversity(means) == pytest.approx(np.mean(pairs))
    assert diversity(np.ones((4, 5)) * [[1], [2], [3], [4]]) == pytest.approx(0, abs=1e-12)
    assert diversity(np.zeros((4, 5))) == 0


def test_the_vendi_score_counts_the_different_clips():
    assert vendi(np.eye(7)) == pytest.approx(7)
    assert vendi(np.repeat(np.eye(3), 4, axis=0)) == pytest.approx(3)
    assert vendi(np.ones((5, 8))) == pytest.approx(1)
    two = np.array([[1.0, 0], [np.cos(0.6), np.sin(0.6)]])
    shares = np.array([1 + np.cos(0.6), 1 - np.cos(0.6)]) / 2
    assert vendi(two) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_a_row_of_weights_is_the_set_with_clips_repeated():
    generator = np.random.default_rng(0)
    means = generator.standard_normal((12, 5))
    weights = generator.multinomial(12, np.full(12, 1 / 12), size=6).astype(float)
    scores = effective_number(cosines(means, means), weights)
    assert scores == pytest.approx([vendi(np.repeat(means, row.astype(int), axis=0)) for row in weights])
    assert spread(cosines(means, means), np.ones((1, 12)))[0] == pytest.approx(diversity(means))


@pytest.mark.parametrize("measure", [diversity, vendi])
def test_one_clip_is_refused(measure):
    with pytest.raises(UserError, match="two clips, found 1"):
        measure(np.ones((1, 5)))
