"""Statistics: any partition gives what one pass gives."""

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.metrics import stats
from foleyray.metrics.stats import EmbeddingStats


@pytest.fixture
def rows() -> np.ndarray:
    generator = np.random.default_rng(0)
    return (generator.standard_normal((503, 24)) @ generator.standard_normal((24, 24)) + 100).astype(np.float32)


def close(a: EmbeddingStats, b: EmbeddingStats) -> None:
    assert a.count == b.count
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-10)
    np.testing.assert_allclose(a.scatter, b.scatter, rtol=1e-10, atol=1e-10 * np.abs(b.scatter).max())


def test_one_pass_is_numpys(rows):
    whole = EmbeddingStats.from_rows(rows)
    assert whole.dim == 24 and whole.mean.dtype == np.float64
    np.testing.assert_allclose(whole.covariance, np.cov(rows.astype(np.float64), rowvar=False), rtol=1e-10, atol=1e-10)


def test_long_runs_are_taken_block_by_block(rows, monkeypatch):
    whole = EmbeddingStats.from_rows(rows)
    monkeypatch.setattr(stats, "ROWS_AT_ONCE", 100)
    close(EmbeddingStats.from_rows(rows), whole)


def test_any_partition_merges_to_one_pass(rows):
    whole = EmbeddingStats.from_rows(rows)
    parts = [EmbeddingStats.from_rows(part) for part in np.split(rows, [1, 3, 250, 499])]
    merged = EmbeddingStats.empty(24)
    for part in reversed(parts):
        merged = merged.merge(part)
    close(merged, whole)
    left, right = parts[0].merge(parts[1]), parts[2].merge(parts[3]).merge(parts[4])
    close(right.merge(left), whole)


def test_added_rows_count_and_no_rows_change_nothing(rows):
    grown = EmbeddingStats.empty(24)
    for part in np.split(rows, [10, 10, 200]):
        grown = grown.add(part)
    close(grown, EmbeddingStats.from_rows(rows))
    assert grown.merge(EmbeddingStats.empty(24)) is grown


def test_a_mixture_by_counts_is_the_pool(rows):
    parts = [EmbeddingStats.from_rows(part) for part in np.split(rows, [100, 350])]
    close(EmbeddingStats.mix(parts, [part.count / 503 for part in parts]), EmbeddingStats.from_rows(rows))


def test_a_mixture_by_shares_is_a_pool_drawn_in_those_shares(rows):
    first, second = rows[:100], rows[100:400]
    pool = EmbeddingStats.from_rows(np.concatenate([first, first, first, second]))  # equal shares
    mixed = EmbeddingStats.mix([EmbeddingStats.from_rows(first), EmbeddingStats.from_rows(second)], [0.5, 0.5])
    np.testing.assert_allclose(mixed.mean, pool.mean, rtol=1e-10)
    np.testing.assert_allclose(mixed.scatter / mixed.count, pool.scatter / pool.count, rtol=1e-9, atol=1e-9)
    assert mixed.count == 300  # as sure as 1 / (0.25 / 100 + 0.25 / 300) = 300 rows of one source
    assert EmbeddingStats.mix([mixed, pool], [1, 0]).count == 300


def test_arrays_and_back(rows, tmp_path):
    whole = EmbeddingStats.from_rows(rows)
    np.savez(tmp_path / "stats.npz", **whole.to_arrays())
    with np.load(tmp_path / "stats.npz", allow_pickle=False) as file:
        close(EmbeddingStats.from_arrays(file), whole)
    close(EmbeddingStats.from_moments(whole.mean, whole.covariance, whole.count), whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scatter": np.zeros((24, 23))}, "expected"),
        ({"mean": np.full(24, np.nan)}, "not finite"),
        ({"count": -1}, "-1 rows"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(rows, change, message):
    with pytest.raises(UserError, match=message):
        EmbeddingStats.from_arrays(EmbeddingStats.from_rows(rows).to_arrays() | change)


def test_the_root_leaves_directions_without_variance_out(rows):
    narrow = EmbeddingStats.from_rows(np.concatenate([rows, rows[:, :6]], axis=1))
    assert narrow.root.shape == (30, 24)
    np.testing.assert_allclose(narrow.root @ narrow.root.T, narrow.covariance, atol=1e-10 * narrow.covariance.max())
