"""The one entry for a class, and the intervals of its numbers against simulated truth."""

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.metrics.diversity import diversity, vendi
from foleyray.metrics.intervals import draws, measured, measured_share, reach
from foleyray.metrics.likeness import Likeness, likeness

NAMES = ("kad", "precision", "recall", "density", "coverage", "diversity", "diversity_ratio", "vendi")


def draw(generator: np.random.Generator, count: int = 50, dim: int = 24, scale: float = 1.0) -> np.ndarray:
    return 1 + scale * np.geomspace(1, 0.1, dim) * generator.standard_normal((count, dim))


def test_like_sets_look_alike_and_a_collapsed_one_does_not():
    generator = np.random.default_rng(0)
    real = draw(generator)
    good, poor = likeness(draw(generator), real, seed=0), likeness(draw(generator, scale=0.02), real, seed=0)
    assert good.kad.interval[0] < 0 < good.kad.interval[1] and poor.kad.interval[0] > 5
    assert good.coverage.interval[0] < good.expected_coverage < good.coverage.interval[1]
    assert 0.8 < good.diversity_ratio.value < 1.25 and poor.diversity_ratio.value < 0.01
    assert good.recall.value > 0.5 and poor.recall.value == 0 and poor.precision.value == 1
    assert good.vendi.value == pytest.approx(vendi(draw_second())) and poor.vendi.value < 1.01
    assert good.diversity.value == pytest.approx(diversity(draw_second()))
    assert Likeness.model_validate_json(good.model_dump_json()) == good


def draw_second() -> np.ndarray:
    """The second set of the generator above."""
    generator = np.random.default_rng(0)
    draw(generator)
    return draw(generator)


def test_the_same_seed_gives_the_same_intervals_and_all_hold_their_value():
    generator = np.random.default_rng(0)
    made, real = draw(generator, 30), draw(generator, 40)
    found = likeness(made, real, seed=3)
    assert found == likeness(made, real, seed=3) != likeness(made, real, seed=4)
    for name in NAMES:
        number = getattr(found, name)
        assert number.interval[0] <= number.value <= number.interval[1] and number.interval[0] < number.interval[1], name


def test_intervals_hold_what_other_clips_measure():
    generator = np.random.default_rng(0)
    real = draw(generator, 60)
    found = [likeness(draw(generator), real, seed=trial, resamples=60) for trial in range(50)]
    for name in NAMES:
        numbers = [getattr(one, name) for one in found]
        truth, spread = (part([number.value for number in numbers]) for part in (np.mean, np.std))
        held = np.mean([number.interval[0] <= truth <= number.interval[1] for number in numbers])
        width = np.mean([number.interval[1] - number.interval[0] for number in numbers])
        assert held >= 0.84, name  # five of a hundred miss; of 50 trials, 3 more by chance
        assert 2.5 * spread < width < 9 * spread, name


def test_a_mean_has_the_interval_that_textbooks_give():
    values = np.random.default_rng(0).standard_normal(40)
    found = measured(lambda rows: rows @ values / rows.sum(axis=1), draws(40, 4000, 0))
    half = 2.0227 * values.std(ddof=1) / np.sqrt(40)  # Student's t of 39 degrees of freedom
    assert found.value == pytest.approx(values.mean())
    assert found.interval[1] - found.value == pytest.approx(half, rel=0.04)
    assert reach(np.array([1.0, 1.0]), 5) == 0


def test_a_share_of_all_or_none_is_not_called_sure():
    weights = draws(60, 50, 0)
    assert measured_share(lambda rows: np.ones(len(rows)), weights).interval == pytest.approx((0.95, 1))
    assert measured_share(lambda rows: np.zeros(len(rows)), weights).interval == pytest.approx((0, 0.05))


def test_sets_that_do_not_compare_are_refused():
    generator = np.random.default_rng(0)
    rows = draw(generator, 8)
    with pytest.raises(UserError, match="6 clips a side at least, found 5"):
        likeness(rows[:5], rows, seed=0)
    with pytest.raises(UserError, match="24 and 20 dimensions"):
        likeness(rows, rows[:, :20], seed=0)
    with pytest.raises(UserError, match="not finite"):
        likeness(np.where(rows > 1, np.inf, rows), rows, seed=0)
    with pytest.raises(UserError, match="one and the same sound"):
        likeness(rows, np.ones((8, 24)), seed=0)
