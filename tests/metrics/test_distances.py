"""Distances against closed forms, the official statistics, and the truth of simulated draws."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from foleyray.config import UserError
from foleyray.metrics.distances import FewRows, frechet, frechet_interval, frechet_rows, moments, pulls
from foleyray.metrics.embedder import EmbedderCard
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.stats import EmbeddingStats
from tests.shared import SHARED, needs_shared

CARD = EmbedderCard(name="bands", recipe="all", weights_id="0" * 8, note="")

CLASSES = ("DogBark", "Footstep", "GunShot", "Keyboard", "MovingMotorVehicle", "Rain", "SneezeCough")
OFFICIAL = [  # distances between the official reference classes, in the order of CLASSES
    [14.366, 19.784, 17.746, 49.122, 22.736, 15.226],
    [12.976, 8.681, 45.782, 13.252, 14.377],
    [14.025, 51.184, 23.679, 15.055],
    [47.975, 18.021, 10.010],
    [29.747, 63.622],
    [28.449],
]
BIAS = {  # windows -> distance of so many Gaussian windows to the very statistics they are drawn from, by class
    100: {"DogBark": 1.39, "Keyboard": 0.90, "MovingMotorVehicle": 2.63, "Rain": 1.44},
    200: {"DogBark": 0.63, "Keyboard": 0.43, "MovingMotorVehicle": 1.18, "Rain": 0.65},
    400: {"DogBark": 0.31, "Keyboard": 0.20, "MovingMotorVehicle": 0.56, "Rain": 0.34},
    700: {"DogBark": 0.19, "Keyboard": 0.11, "MovingMotorVehicle": 0.32, "Rain": 0.18},
    1000: {"DogBark": 0.12, "Keyboard": 0.08, "MovingMotorVehicle": 0.22, "Rain": 0.13},
    5000: {"DogBark": 0.02, "Keyboard": 0.02, "MovingMotorVehicle": 0.05, "Rain": 0.03},
}


def draw(seed: int, count: int, dim: int, shift: float = 0.0) -> np.ndarray:
    """Correlated rows whose spread falls over two orders; another seed draws from another Gaussian."""
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.standard_normal((dim, dim)))[0]
    return generator.standard_normal((count, dim)) * np.geomspace(1, 0.01, dim) @ turn + shift


def as_clips(windows: np.ndarray) -> ClipEmbeddings:
    """windows (clips, frames, D)."""
    clips, frames, dim = windows.shape
    none = np.zeros(clips, dtype=np.int64)
    return ClipEmbeddings(
        rows=windows.reshape(-1, dim).astype(np.float32),
        clip=np.repeat(np.arange(clips), frames),
        dropped=none,
        silent=none > 0,
        clipped=none > 0,
        embedder=CARD,
    )


@pytest.mark.parametrize(("count", "dim"), [(300, 16), (40, 64)])
def test_no_distance_to_itself_and_the_same_both_ways(count, dim):
    a, b = draw(1, count, dim), draw(2, count + 7, dim, 0.3)
    assert frechet_rows(a, a) < 1e-6
    assert frechet(EmbeddingStats.from_rows(a), EmbeddingStats.from_rows(a)) < 1e-6
    assert frechet_rows(a, b) == pytest.approx(frechet_rows(b, a), rel=1e-9)


@pytest.mark.parametrize(("count", "dim"), [(300, 16), (40, 64)])
def test_rotation_changes_nothing(count, dim):
    a, b = draw(1, count, dim), draw(2, count, dim, 0.3)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))[0]
    assert frechet_rows(a @ turn, b @ turn) == pytest.approx(frechet_rows(a, b), rel=1e-9)


@pytest.mark.parametrize(("count", "dim"), [(300, 16), (40, 64)])
def test_a_shift_adds_its_square(count, dim):
    a, shift = draw(1, count, dim), np.random.default_rng(0).standard_normal(dim)
    assert frechet_rows(a, a + shift) == pytest.approx(shift @ shift, rel=1e-9)


def test_diagonal_gaussians_have_a_closed_form():
    generator = np.random.default_rng(0)
    means, spreads = generator.standard_normal((2, 32)), generator.uniform(0.1, 2, (2, 32))
    a, b = (EmbeddingStats.from_moments(mean, np.diag(spread**2), 1000) for mean, spread in zip(means, spreads, strict=True))
    assert frechet(a, b) == pytest.approx(np.square(means[0] - means[1]).sum() + np.square(spreads[0] - spreads[1]).sum())


@pytest.mark.parametrize(("num_a", "num_b"), [(20, 30), (20, 500), (500, 20), (65, 64)])
def test_few_rows_give_what_whole_covariances_give(num_a, num_b):
    a, b = draw(1, num_a, 64), draw(2, num_b, 64, 0.1)
    assert isinstance(moments(a), FewRows) == (num_a <= 64)
    whole = frechet(EmbeddingStats.from_rows(a), EmbeddingStats.from_rows(b))
    assert frechet_rows(a, b) == pytest.approx(whole, rel=1e-10)


@pytest.mark.parametrize(("num_a", "num_b"), [(300, 400), (300, 40), (40, 300)])
def test_the_textbook_root_agrees_where_it_is_real(num_a, num_b):
    a, b = draw(1, num_a, 32), draw(2, num_b, 32, 0.3)
    covariances = [np.cov(rows, rowvar=False) for rows in (a, b)]
    step = a.mean(axis=0) - b.mean(axis=0)
    textbook = step @ step + np.trace(sum(covariances)) - 2 * np.trace(sqrtm(covariances[0] @ covariances[1]).real)
    assert frechet_rows(a, b) == pytest.approx(textbook, rel=1e-10)


@needs_shared
def test_the_challenge_value_to_all_its_digits(official):
    assert frechet(official["DogBark"], official["Rain"]) == pytest.approx(22.736113823927, rel=1e-12)


def test_sets_that_collapsed_have_a_distance():
    still = np.ones((10, 8))
    assert frechet_rows(still, still) == 0
    assert frechet_rows(still, draw(1, 50, 8)) > 0
    assert frechet(EmbeddingStats.from_rows(still), EmbeddingStats.from_rows(still + 1)) == pytest.approx(8)


def test_too_few_rows_and_unlike_dimensions_are_refused():
    with pytest.raises(UserError, match="two frames a side, found 1"):
        frechet_rows(np.ones((1, 8)), np.ones((5, 8)))
    with pytest.raises(UserError, match="8 and 9 dimensions"):
        frechet_rows(np.ones((5, 8)), np.ones((5, 9)))


@pytest.mark.parametrize("dim", [3, 30])
def test_numbers_that_are_not_finite_are_refused(dim):
    with pytest.raises(UserError, match="not finite"):
        frechet_rows(np.full((10, dim), np.nan), np.ones((10, dim)))


@pytest.fixture(scope="module")
def official() -> dict[str, EmbeddingStats]:
    with np.load(SHARED / "data/t7_reference/vggish_eval_statistics.npz", allow_pickle=False) as file:
        return {
            name: EmbeddingStats.from_moments(file[f"{name}.mean"], file[f"{name}.covariance"], int(file[f"{name}.count"]))
            for name in CLASSES
        }


@needs_shared
def test_the_official_classes_lie_as_far_apart_as_published(official):
    for first, row in enumerate(OFFICIAL):
        for second, expected in enumerate(row, start=first + 1):
            assert frechet(official[CLASSES[first]], official[CLASSES[second]]) == pytest.approx(expected, abs=1e-3)


@needs_shared
def test_few_windows_bias_the_distance_upwards_as_published(official):
    generator = np.random.default_rng(0)
    for count, row in BIAS.items():
        for name, expected in row.items():
            target = official[name]
            drawn = (generator.standard_normal((count, target.root.shape[1])) @ target.root.T + target.mean for _ in range(4))
            found = np.mean([frechet(moments(rows), target) for rows in drawn])
            assert found == pytest.approx(expected, rel=0.2, abs=0.006), (name, count)  # printed to 0.01


def correlated(generator: np.random.Generator, clips: int, frames: int, dim: int) -> np.ndarray:
    """Frames that share half of their variance within a clip."""
    parts = generator.standard_normal((clips, 1, dim)) + generator.standard_normal((clips, frames, dim))
    return parts * np.geomspace(1, 0.1, dim) + 0.2


@pytest.mark.parametrize(("clips", "frames", "dim"), [(16, 4, 12), (10, 3, 48)])
def test_intervals_hold_what_other_clips_of_the_same_kind_measure(clips, frames, dim):
    generator = np.random.default_rng(0)
    reference = EmbeddingStats.from_rows(np.random.default_rng(1).standard_normal((400, dim)) * np.geomspace(2, 0.1, dim))
    others = [frechet(moments(correlated(generator, clips, frames, dim).reshape(-1, dim)), reference) for _ in range(300)]
    found = [frechet_interval(as_clips(correlated(generator, clips, frames, dim)), reference, seed=0) for _ in range(100)]
    held = np.mean([low <= np.mean(others) <= high for low, high in found])
    width = np.mean([high - low for low, high in found])
    assert held >= 0.88
    assert 3 * np.std(others) < width < 8 * np.std(others)


def test_an_interval_is_repeatable_and_holds_the_distance():
    generator = np.random.default_rng(0)
    clips, reference = as_clips(correlated(generator, 60, 4, 12)), as_clips(correlated(generator, 50, 4, 12) + 0.1)
    found = frechet_interval(clips, reference, seed=0)
    assert found == frechet_interval(clips, moments(reference.rows), seed=0) != frechet_interval(clips, reference, seed=1)
    assert found[0] < frechet_rows(clips.rows, reference.rows) < found[1]
    fewer = frechet_interval(clips, reference, resamples=50, seed=3)
    assert 0.6 < (fewer[1] - fewer[0]) / (found[1] - found[0]) < 1.6


@pytest.mark.parametrize("dim", [6, 40])
def test_a_clip_pulls_as_the_distance_changes_with_its_weight(dim):
    """Against finite differences of the distance of weighted rows, weight going from one clip to another."""
    generator = np.random.default_rng(0)
    windows = correlated(generator, 8, 3, dim)
    clips, reference = as_clips(windows), moments(correlated(generator, 60, 1, dim)[:, 0])

    def weighted(weights: np.ndarray) -> float:
        shares = weights[clips.clip] / weights[clips.clip].sum()
        centred = clips.rows.astype(np.float64) - (mean := shares @ clips.rows.astype(np.float64))
        root = centred.T * np.sqrt(shares * len(shares) / (len(shares) - 1))
        return frechet(FewRows(len(shares), mean, root), reference)

    found, step = pulls(clips, reference), 1e-4
    assert weighted(np.ones(8)) == pytest.approx(frechet(moments(clips.rows), reference))
    for more, less in ((0, 1), (5, 2), (7, 3)):
        moved = step * (np.eye(8)[more] - np.eye(8)[less])
        slope = (weighted(1 + moved) - weighted(1 - moved)) / (2 * step)
        assert found[more] - found[less] == pytest.approx(slope, rel=1e-4)
    assert abs(found.sum()) < 1e-9


@needs_shared
def test_an_interval_between_two_official_classes_holds_their_distance(official):
    generator, target = np.random.default_rng(0), official["Keyboard"]
    clips = as_clips(generator.standard_normal((100, 10, 128)) @ target.root.T + target.mean)
    low, high = frechet_interval(clips, official["Footstep"], resamples=200, seed=0)
    assert low < OFFICIAL[1][1] < high


def test_the_poorest_sets_still_have_an_interval():
    generator = np.random.default_rng(0)
    reference = as_clips(correlated(generator, 30, 4, 6))
    low, high = frechet_interval(as_clips(correlated(generator, 2, 1, 6)), reference, seed=0)
    assert 0 <= low < high < np.inf
    assert frechet_interval(as_clips(np.ones((3, 2, 6))), as_clips(np.ones((3, 2, 6))), seed=0) == (0, 0)
    with pytest.raises(UserError, match="two clips, found 1"):
        frechet_interval(as_clips(correlated(generator, 1, 4, 6)), reference, seed=0)
