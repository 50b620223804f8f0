"""Scores per class, their warnings, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.metrics.distances import frechet_rows
from foleyray.metrics.diversity import diversity
from foleyray.metrics.embedder import EmbedderCard
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.reference import ReferenceClass
from foleyray.metrics.scores import ClassScore, mean_fad, score

CARD = EmbedderCard(name="bands", recipe="all", weights_id="8bands", note="compares with itself only")
CENTRES = {"low": 0.0, "middle": 3.0, "high": 6.0}


def clips(centre: float, seed: int, count: int = 12, frames: int = 4, spread: float = 1.0, **changes) -> ClipEmbeddings:
    generator = np.random.default_rng(seed)
    none = np.zeros(count, dtype=np.int64)
    values = {
        "rows": (centre + spread * generator.standard_normal((count * frames, 6)) + [1, 0, 0, 0, 0, 0]).astype(np.float32),
        "clip": np.repeat(np.arange(count), frames),
        "dropped": none,
        "silent": none > 0,
        "clipped": none > 0,
        "embedder": CARD,
    }
    return ClipEmbeddings(**(values | changes))


@pytest.fixture(scope="module")
def real() -> dict[str, ClipEmbeddings]:
    return {name: clips(centre, seed) for seed, (name, centre) in enumerate(CENTRES.items())}


@pytest.fixture(scope="module")
def reference(real) -> dict[str, ReferenceClass]:
    return {name: ReferenceClass.of(found) for name, found in real.items()}


@pytest.fixture(scope="module")
def scores(reference) -> dict[str, ClassScore]:
    generated = {name: clips(centre + 0.2, 10 + seed) for seed, (name, centre) in enumerate(CENTRES.items())}
    generated["high"] = clips(3.2, 5, count=8, spread=0.01)  # collapsed, and in the wrong place
    return score(generated, reference, seed=0)


def test_distances_to_all_classes_and_the_nearest(scores, real):
    assert [scores[name].nearest_class for name in CENTRES] == ["low", "middle", "middle"]
    assert [scores[name].is_nearest for name in CENTRES] == [True, True, False]
    low = scores["low"]
    assert low.fad == pytest.approx(frechet_rows(clips(0.2, 10).rows, real["low"].rows))
    assert low.interval[0] <= low.fad <= low.interval[1]
    assert set(low.other_fads) == {"middle", "high"} and low.mean_other_fad == np.mean(list(low.other_fads.values()))
    assert low.other_fads["high"] > low.other_fads["middle"] > low.fad
    assert mean_fad(scores) == pytest.approx(np.mean([found.fad for found in scores.values()]))


def test_collapse_shows_in_the_diversity(scores, reference):
    assert scores["high"].diversity_ratio < 0.01 and 0.3 < scores["low"].diversity_ratio < 3
    assert scores["low"].diversity == pytest.approx(diversity(clips(0.2, 10).means()))


def test_counts_and_provenance_travel_along(scores):
    low = scores["low"]
    assert (low.num_clips, low.num_reference_clips, low.num_frames, low.warnings) == (12, 12, 48, ())
    assert low.caption() == "FAD by bands:all@8bands, 95 % interval by clip; compares with itself only"
    assert ClassScore.model_validate_json(low.model_dump_json()) == low


def test_what_a_reader_must_know_is_said(reference):
    flags = np.arange(12) < 2
    poor = clips(0.2, 1, frames=1, dropped=np.ones(12, dtype=np.int64), silent=flags, clipped=flags[::-1])
    found = score({"low": poor.take(range(5))}, {"low": reference["low"]}, seed=0)["low"]
    assert found.dropped_share == 0.5 and found.num_silent == 2 and found.num_clipped == 0
    assert found.warnings == (
        "5 generated frames for 6 dimensions: FAD is biased upwards, compare it at equal counts only",
        "2 of 5 generated clips are silent",
        "5 clips are too few for KAD, precision and coverage: 6 a side are needed",
    )


def test_the_same_scores_twice(reference):
    generated = {name: clips(centre + 0.2, 3) for name, centre in CENTRES.items()}
    assert score(generated, reference, seed=1, resamples=5) == score(generated, reference, seed=1, resamples=5)


@pytest.mark.parametrize(
    ("generated", "message"),
    [
        ({}, "no generated clips"),
        ({"low": clips(0, 1), "middle": clips(0, 1)}, "class high has reference clips but no generated"),
        ({**dict.fromkeys(CENTRES, clips(0, 1)), "hihg": clips(0, 1)}, "hihg has generated .*did you mean 'high'"),
        ({**dict.fromkeys(CENTRES, clips(0, 1)), "low": clips(0, 1, count=1)}, "class low has one generated clip"),
        (
            dict.fromkeys(CENTRES, clips(0, 1, embedder=CARD.model_copy(update={"recipe": "active"}))),
            "bands:active@8bands do not compare with reference statistics of bands:all@8bands",
        ),
    ],
)
def test_sides_that_do_not_compare_are_refused(generated, message, reference):
    with pytest.raises(UserError, match=message):
        score(generated, reference, seed=0)


def test_a_reference_of_one_sound_is_refused():
    still = clips(0, 0, spread=0)
    with pytest.raises(UserError, match="one and the same sound"):
        score({"low": clips(0, 1)}, {"low": ReferenceClass.of(still)}, seed=0)


def test_likeness_stands_beside_the_distance(scores):
    assert scores["low"].likeness.kad.value < scores["high"].likeness.kad.value
    assert scores["low"].likeness.coverage.value > scores["high"].likeness.coverage.value
    assert scores["low"].diversity_ratio == pytest.approx(scores["low"].likeness.diversity_ratio.value)


def test_a_reference_of_statistics_alone_has_a_distance_and_no_likeness(reference):
    bare = {name: replace(part, means=None, num_silent=None, num_clipped=None) for name, part in reference.items()}
    generated = {name: clips(centre + 0.2, 3) for name, centre in CENTRES.items()}
    found, whole = (score(generated, side, seed=0)["low"] for side in (bare, reference))
    assert (found.fad, found.interval) == (whole.fad, whole.interval)
    assert found.diversity_ratio is None and found.likeness is None
