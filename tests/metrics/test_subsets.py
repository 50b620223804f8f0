"""Choices among the same clips measured as sets of their own."""

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.metrics import subsets
from foleyray.metrics.distances import frechet, moments
from foleyray.metrics.diversity import diversity
from foleyray.metrics.embedder import EmbedderCard
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.likeness import likeness
from foleyray.metrics.reference import ReferenceClass
from foleyray.metrics.subsets import Subsets

CARD = EmbedderCard(name="drawn", recipe="all", weights_id="none", note="")


def clips(seed, num_clips, rows_a_clip, dim, shift=0.0):
    """Correlated rows far from zero; clips have up to `rows_a_clip` of them."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(max(1, rows_a_clip - 2), rows_a_clip + 1, num_clips)
    clip = np.repeat(np.arange(num_clips), counts)
    spread = generator.standard_normal((dim, dim)) * np.geomspace(1, 0.05, dim)
    rows = (
        (generator.standard_normal((len(clip), dim)) + generator.standard_normal((num_clips, dim))[clip]) @ spread + 5 + shift
    )
    none = np.zeros(num_clips, dtype=np.int64)
    return ClipEmbeddings(rows.astype(np.float32), clip, none, none > 0, none > 0, CARD)


@pytest.mark.parametrize(
    ("dim", "real", "rows_a_clip"),
    [(8, 30, 5), (64, 30, 8), (64, 6, 3), (200, 9, 5), (24, 30, 1)],
    ids=["many rows", "rows of a choice fewer than dimensions", "few reference rows", "few rows on both sides", "one a clip"],
)
@pytest.mark.parametrize("most", [8192, 0], ids=["products kept", "products made"])
def test_a_choice_measures_what_its_clips_alone_measure(monkeypatch, dim, real, rows_a_clip, most):
    monkeypatch.setattr(subsets, "MOST_PRODUCTS", most)
    pool, reference = clips(1, 40, rows_a_clip, dim), ReferenceClass.of(clips(2, real, rows_a_clip, dim, shift=0.1))
    choices = Subsets(pool, reference)
    generator = np.random.default_rng(3)
    for size in (2, 5, 13, 40):
        chosen = generator.permutation(40)[:size]
        alone = pool.take(chosen)
        assert choices.frechet(chosen) == pytest.approx(frechet(moments(alone.rows), reference.moments), rel=1e-6)
        assert choices.diversity(chosen) == pytest.approx(diversity(alone.means()), rel=1e-9)
        if size >= 6 and real >= 6:
            apart = likeness(alone.means(), reference.means.astype(np.float64), seed=0, resamples=2).kad.value
            assert choices.kad(chosen) == pytest.approx(apart, rel=1e-6, abs=1e-9)


def test_equal_choices_are_computed_once():
    choices = Subsets(clips(1, 10, 3, 6), ReferenceClass.of(clips(2, 10, 3, 6)))
    assert choices.frechet([4, 1, 7]) == choices.frechet([7, 4, 1]) != choices.frechet([4, 1, 6])
    assert len(choices.known) == 2


def test_clips_of_another_embedder_and_broken_ones_are_refused():
    pool, reference = clips(1, 10, 3, 6), ReferenceClass.of(clips(2, 10, 3, 6))
    with pytest.raises(UserError, match="embeddings of 5 and 6 dimensions do not compare"):
        Subsets(clips(1, 10, 3, 5), reference)
    pool.rows[3, 2] = np.nan
    with pytest.raises(UserError, match="not finite"):
        Subsets(pool, reference)
    with pytest.raises(UserError, match="two frames a side, found 1"):
        Subsets(clips(1, 10, 1, 6), reference).frechet([3])
