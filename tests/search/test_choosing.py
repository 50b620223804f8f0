"""Choosing among the options of a pool, on embeddings and scores that are drawn."""

import numpy as np
import pytest

from foleyray.metrics.distances import frechet, moments
from foleyray.metrics.diversity import diversity
from foleyray.metrics.embedder import EmbedderCard
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.reference import ReferenceClass
from foleyray.search.choosing import Goal, choose, goals, no_choice, thresholds
from foleyray.search.config import ChoosingConfig
from foleyray.search.pools import Candidates, Pool, PoolFile
from foleyray.selection import CEILING, Bank, Picking, candidate_seed

CARD = EmbedderCard(name="drawn", recipe="all", weights_id="none", note="")
REQUESTS, COUNT, DIM = 20, 6, 5
SEEDS = range(0, 2 * REQUESTS, 2)
SETTINGS = ChoosingConfig(requests=REQUESTS, candidates=COUNT, thresholds=12, counts=(1, 2, 3), least_diversity=0)


def clips(means, seed=1):
    """Three rows a clip around its mean."""
    rows = np.repeat(means, 3, axis=0) + 0.1 * np.random.default_rng(seed).standard_normal((3 * len(means), means.shape[1]))
    none = np.zeros(len(means), dtype=np.int64)
    return ClipEmbeddings(rows.astype(np.float32), np.arange(len(rows)) // 3, none, none > 0, none > 0, CARD)


def pool(collapsing=False):
    """Half of the candidates are off the reference, and the scorer knows which; or, where it is `collapsing`, it likes best
    what lies at the reference's very centre."""
    generator = np.random.default_rng(0)
    means = generator.standard_normal((REQUESTS * COUNT, DIM)) + 3
    off = generator.random(REQUESTS * COUNT) < 0.5
    means[off] += 6.0 * (generator.random((off.sum(), DIM)) - 0.2) if collapsing else 2.0
    if collapsing:
        centred = generator.random(REQUESTS * COUNT) < 0.4
        means[centred] = 3 + 0.05 * generator.standard_normal((centred.sum(), DIM))
        off = ~centred
    likeness = np.where(off, -0.5, 0.5) + 0.3 * generator.random(REQUESTS * COUNT)
    vectors = generator.standard_normal((REQUESTS * COUNT, 4))
    return Pool(tuple(SEEDS), clips(means), (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32), likeness)


@pytest.fixture(scope="module")
def reference():
    return ReferenceClass.of(clips(np.random.default_rng(5).standard_normal((40, DIM)) + 3, seed=6))


def picked(selection, seed, likeness):
    picking = Picking(selection, seed)
    while wanted := picking.wanted:
        picking.hear([float(likeness[number, picking.target]) for number in wanted])
    return picking.pick


def test_a_scorer_that_knows_brings_the_sounds_nearer(reference):
    full = pool()
    found = choose(full, goals(full, {}, SETTINGS), reference, "clap/0/1", SETTINGS)
    assert found.chosen.fad < 0.7 * found.unselected.fad
    assert found.chosen.fad == min(option.fad for option in found.options)
    assert len(found.options) == 1 + 3 * 12 and found.options[0].selection is None
    assert (found.unselected.made_per_sound, found.unselected.selection, found.unselected.target) == (1.0, None, None)
    assert found.chosen.selection.scorer == "clap/0/1" and found.chosen.target == "text"
    assert found.chosen.kad < found.unselected.kad
    assert 1 <= found.chosen.made_per_sound <= COUNT and 0 < found.chosen.acceptance_rate <= 1


def test_every_option_measures_what_the_rule_would_give(reference):
    """Each distance is that of the clips which `Picking` itself picks with the option's selection."""
    full = pool()
    likeness = full.likeness.reshape(REQUESTS, COUNT, 1)
    for option in choose(full, goals(full, {}, SETTINGS), reference, "clap", SETTINGS).options[1::5]:
        picks = [picked(option.selection, seed, likeness[row]) for row, seed in enumerate(SEEDS)]
        places = [row * COUNT + pick.candidate for row, pick in enumerate(picks)]
        assert option.places.tolist() == places and len(places) == REQUESTS
        assert option.fad == pytest.approx(frechet(moments(full.clips.take(places).rows), reference.moments), rel=1e-6)
        assert option.made_per_sound == np.mean([pick.made for pick in picks])
        assert option.acceptance_rate == np.mean([pick.accepted for pick in picks])


def test_selection_cannot_win_by_collapsing(reference):
    full = pool(collapsing=True)
    against = goals(full, {}, SETTINGS)
    free = choose(full, against, reference, "clap", SETTINGS)
    strict = SETTINGS.model_copy(update={"least_diversity": 0.9})
    held = choose(full, against, reference, "clap", strict)
    own = diversity(full.clips.take(full.unselected).means())
    assert held.unselected.diversity == pytest.approx(own) and held.least_diversity == pytest.approx(0.9 * own)
    assert held.chosen.diversity >= 0.9 * own
    assert any(option.fad < held.chosen.fad and option.diversity < 0.9 * own for option in free.options)
    assert free.chosen.fad < held.chosen.fad
    nothing = choose(full, against, reference, "clap", SETTINGS.model_copy(update={"least_diversity": 50.0}))
    assert nothing.chosen == nothing.unselected, "the sounds without selection are always allowed"


def test_a_useless_scorer_costs_nothing(reference):
    """Where all candidates of a request score alike, every option gives the first one, and the cheapest is taken."""
    full = pool()
    flat = {"text": Goal(np.zeros((REQUESTS, COUNT, 1)))}
    found = choose(full, flat, reference, "clap", SETTINGS)
    assert found.chosen == found.unselected and found.places.tolist() == full.unselected.tolist()
    assert no_choice(full, reference).chosen == found.unselected


def test_a_bank_is_walked_as_the_rule_walks_it(reference):
    full = pool()
    vectors = np.random.default_rng(9).standard_normal((7, 4))
    vectors = (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32)
    settings = SETTINGS.model_copy(update={"targets": ("text", "bank")})
    against = goals(full, {"bank": (Bank(vectors="banks/b", size=7), vectors)}, settings)
    found = choose(full, against, reference, "clap", settings)
    options = [option for option in found.options if option.target == "bank"]
    likeness = (full.vectors.astype(np.float64) @ vectors.T).reshape(REQUESTS, COUNT, 7)
    for option in options[::7]:
        picks = [picked(option.selection, seed, likeness[row]) for row, seed in enumerate(SEEDS)]
        assert option.places.tolist() == [row * COUNT + pick.candidate for row, pick in enumerate(picks)]
    assert {option.selection.bank.vectors for option in options} == {"banks/b"}


def test_thresholds_lie_among_the_scores():
    scores = np.random.default_rng(0).uniform(-0.2, 0.6, (30, 8))
    found = thresholds(scores, 100)
    assert len(found) == 100 and found == sorted(found)
    assert found[0] <= scores.min() < found[1] and scores.max() - 1e-4 < found[-1] <= scores.max()
    assert thresholds(np.full((3, 2), 0.995), 5) == [CEILING]
    assert thresholds(np.full((3, 2), np.nan), 5) == [-1.0]


def test_pieces_survive_and_become_the_whole(tmp_path):
    """What is read is what was made, whoever made which piece; a request is missing until its piece is whole."""
    full = pool()
    file = PoolFile(tmp_path / "pools" / "0a1b2c3d" / "Dull.parquet", SEEDS, COUNT)
    waves = np.arange(REQUESTS * COUNT * 9, dtype=np.int16).reshape(-1, 9)

    def add(rows):
        places = [row * COUNT + number for row in rows for number in range(COUNT)]
        seeds = [candidate_seed(SEEDS[row], number) for row in rows for number in range(COUNT)]
        made = Candidates(waves[places], full.clips.take(places), full.vectors[places], full.likeness[places])
        file.add([SEEDS[row] for row in rows], seeds, made)

    assert file.missing() == list(SEEDS)
    add(range(7, 12))
    assert file.missing() == [seed for row, seed in enumerate(SEEDS) if not 7 <= row < 12]
    add(range(7))
    add(range(12, REQUESTS))
    assert file.missing() == [] and file.path.is_file() and not file.parts.exists()
    found = file.read()
    assert found.seeds == full.seeds and found.num_candidates == COUNT
    assert np.array_equal(found.clips.rows, full.clips.rows) and np.array_equal(found.clips.clip, full.clips.clip)
    assert found.clips.embedder == CARD
    assert np.array_equal(found.vectors, full.vectors) and np.array_equal(found.likeness, full.likeness)
