"""Measuring a point of the search, in this process."""

import math

import pytest
import torch

from foleyray.metrics.embedder import find
from foleyray.metrics.embeddings import embed_clips
from foleyray.search.candidates import newest
from foleyray.search.config import SearchConfig
from foleyray.search.evaluator import Evaluator, Maker
from tests.search.toy_noise import CLASSES, CLIP, SYSTEM, config, trained, write_store

START = {"tilt": 1.0, "repeats": 1, "polarity": "up"}
SEEDS = SearchConfig(clips=8).clip_seeds("search")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def candidates(tmp_path_factory):
    return newest(SYSTEM, config(), trained(tmp_path_factory.mktemp("run")), CLASSES, 3)


def evaluator(store, candidates, split="reference", batch_size=16, **settings):
    return Maker(SYSTEM, config(**settings), candidates, SearchConfig(batch_size=batch_size), store.path, split)()


def test_rungs_grow_to_the_distance_of_all_clips(store, candidates):
    judge = evaluator(store, candidates)
    scores = list(judge.climb(0, 0, START, SEEDS, (2, 4, 8)))
    assert [clips for clips, _ in scores] == [2, 4, 8]
    assert scores[-1][1] == pytest.approx(judge.distance(0, judge.embeddings(0, 0, START, SEEDS)), rel=1e-9)


def test_a_second_trial_loads_nothing(store, candidates, tmp_path):
    judge = evaluator(store, candidates, diary=tmp_path / "diary")
    for candidate in (0, 1, 0, 1):
        list(judge.climb(0, candidate, START, SEEDS, (8,)))
    lines = (tmp_path / "diary").read_text().splitlines()
    assert sum(" load " in line for line in lines) == 2
    assert sum(" clip " in line for line in lines) == 4 * 8


def test_clips_and_reference_are_embedded_once_a_class(store, candidates):
    reads = []

    def read(label):
        reads.append(label)
        return store.read("reference", ["wave"], label=label)["wave"]

    sampler = SYSTEM.sampler(config(), candidates[0], torch.device("cpu"))
    judge = Evaluator(lambda candidate: sampler, find("logmel", None, "cpu"), read, CLIP.sample_rate_hz, 4)
    for _ in range(3):
        list(judge.climb(1, 0, START, SEEDS, (4, 8)))
    assert reads == [1]
    assert judge.reference(1).num_clips == 12


def test_the_distance_falls_towards_the_target(store, candidates):
    judge = evaluator(store, candidates)
    distances = [judge.distance(1, judge.embeddings(1, 0, START | {"tilt": tilt}, SEEDS)) for tilt in (1.5, 0.9, 0.25)]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 3 * distances[-1]


def test_batches_change_nothing(store, candidates):
    one, many = (evaluator(store, candidates, batch_size=size).embeddings(0, 0, START, SEEDS) for size in (3, 16))
    assert many.num_clips == one.num_clips == 8
    assert one.rows == pytest.approx(many.rows, abs=1e-5)


def test_waves_that_are_no_numbers_are_infinitely_far(store, candidates):
    assert list(evaluator(store, candidates, broken=True).climb(0, 0, START, SEEDS, (8,))) == [(8, math.inf)]


def test_a_full_score_has_interval_and_diversity(store, candidates):
    judge = evaluator(store, candidates, split="held_out")
    score = judge.measure(0, 0, START, SEEDS, 0)
    assert score.interval[0] <= score.interval[1]
    assert score.num_clips == 8
    assert score.num_reference_clips == 10
    assert score.diversity_ratio > 0
    assert score.fad == pytest.approx(judge.distance(0, judge.embeddings(0, 0, START, SEEDS)), rel=1e-6)


def test_real_clips_are_nearest_to_their_own_class(store, candidates):
    judge = evaluator(store, candidates)
    real = embed_clips(judge.embedder, store.read("held_out", ["wave"], label=0)["wave"], CLIP.sample_rate_hz)
    assert judge.distance(0, real) < judge.distance(1, real)
