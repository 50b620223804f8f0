"""Shares of several systems, from sounds that are made already."""

import numpy as np
import pytest

from foleyray.metrics.distances import frechet
from foleyray.metrics.embedder import EmbedderCard
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.reference import ReferenceClass
from foleyray.metrics.stats import EmbeddingStats
from foleyray.search.config import MixingConfig
from foleyray.search.mixing import blocks, mix, shares

CARD = EmbedderCard(name="drawn", recipe="all", weights_id="none", note="")
COUNT, DIM = 24, 4


def clips(means, seed):
    rows = np.repeat(means, 3, axis=0) + 0.2 * np.random.default_rng(seed).standard_normal((3 * len(means), means.shape[1]))
    none = np.zeros(len(means), dtype=np.int64)
    return ClipEmbeddings(rows.astype(np.float32), np.arange(len(rows)) // 3, none, none > 0, none > 0, CARD)


def of_modes(seed, *weights_and_places):
    """Clips around several places, as many of each as its weight says, in an order of their own."""
    generator = np.random.default_rng(seed)
    means = np.concatenate([np.full((number, DIM), place) for number, place in weights_and_places])
    return clips(generator.permutation(means + 0.3 * generator.standard_normal(means.shape)), seed)


REFERENCE = ReferenceClass.of(of_modes(0, (36, 0.0), (12, 3.0)))
"""Three sounds of one kind to one of another."""


def test_the_shares_of_the_reference_are_found():
    sounds = {"one": of_modes(1, (COUNT, 0.0)), "other": of_modes(2, (COUNT, 3.0)), "neither": of_modes(3, (COUNT, -4.0))}
    found = mix(sounds, REFERENCE, MixingConfig())
    assert found.shares == {"one": 0.75, "other": 0.25} and found.options == 45
    alone = [mix({name: sounds[name]}, REFERENCE, MixingConfig()).fad for name in sounds]
    assert found.fad < min(alone)


def test_a_system_alone_wins_where_no_mixture_is_nearer():
    sounds = {"right": of_modes(1, (18, 0.0), (6, 3.0)), "wrong": of_modes(2, (COUNT, -5.0))}
    assert mix(sounds, REFERENCE, MixingConfig()).shares == {"right": 1.0}
    twins = {"right": sounds["right"], "same": sounds["right"]}
    assert mix(twins, REFERENCE, MixingConfig()).shares == {"right": 1.0}, "a mixture has to be nearer"


def test_a_mixture_that_is_nearer_by_chance_is_left_alone():
    """Sounds of one law under two names: some mixture of them is nearly always a little nearer than either."""
    nearer = 0
    for seed in range(10):
        twins = {name: of_modes(2 * seed + number, (18, 0.0), (6, 3.0)) for number, name in enumerate(("one", "other"))}
        found = mix(twins, REFERENCE, MixingConfig())
        assert len(found.shares) == 1
        places = [blocks((part, 8 - part), COUNT) for part in range(9)]
        mixed = [ClipEmbeddings.join([clips.take(block) for clips, block in zip(twins.values(), both, strict=True) if block])
                 for both in places]  # fmt: skip
        nearer += min(frechet(EmbeddingStats.from_rows(clips.rows), REFERENCE.moments) for clips in mixed) < found.fad - 1e-6
    assert nearer >= 5


def test_a_mixture_measures_what_the_merged_statistics_of_its_sounds_measure():
    """Of every system the sounds of the requests that it answers, as many as its share says."""
    sounds = {"one": of_modes(1, (COUNT, 0.0)), "other": of_modes(2, (COUNT, 3.0))}
    found = mix(sounds, REFERENCE, MixingConfig())
    first, second = blocks(list(found.shares.values()), COUNT)
    assert (len(first), len(second)) == (18, 6)
    answered = zip(sounds.values(), (first, second), strict=True)
    parts = [EmbeddingStats.from_rows(clips.take(block).rows) for clips, block in answered]
    assert found.fad == pytest.approx(frechet(parts[0].merge(parts[1]), REFERENCE.moments), rel=1e-6)


def test_every_way_of_giving_out_the_parts_is_there_once():
    found = list(shares(3, 4))
    assert len(found) == len(set(found)) == 15 and {sum(parts) for parts in found} == {4}
    assert list(shares(1, 8)) == [(8,)]


def test_blocks_are_exact_and_meet_every_request_once():
    for parts, count in (((3, 5), 40), ((1, 1, 1), 64), ((1, 7), 3), ((0.5, 0.25, 0.25), 10)):
        found = blocks(parts, count)
        assert [number for block in found for number in block] == list(range(count))
        for part, block in zip(parts, found, strict=True):
            assert abs(len(block) - count * part / sum(parts)) < 1
    assert [len(block) for block in blocks((3, 5), 40)] == [15, 25]
