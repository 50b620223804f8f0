"""Selection replayed on known scores picks what the rule itself picks."""

import numpy as np
import pytest

from foleyray.search.replaying import replay, seen
from foleyray.selection import Bank, Picking, Selection

SEEDS = range(0, 60, 2)


def scores(seed, *shape):
    """With ties, scores above the ceiling, and some that are no number."""
    generator = np.random.default_rng(seed)
    found = generator.uniform(-1, 1, shape).round(1)
    found[generator.random(shape) < 0.1] = 0.995
    found[generator.random(shape) < 0.1] = np.nan
    return found


def picked(selection, request_seed, likeness):
    """The rule on one request: likeness (C, targets)."""
    picking = Picking(selection, request_seed)
    while wanted := picking.wanted:
        picking.hear([float(likeness[candidate, picking.target]) for candidate in wanted])
    return picking.pick


BANKS = {
    "text": None,
    "walk": Bank(vectors="b", size=7, order="walk", relax=0.05, relax_after=2),
    "random": Bank(vectors="b", size=7, order="random", relax=0.3, relax_after=1),
}


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("target", BANKS)
def test_it_picks_what_the_rule_picks(target, count):
    bank = BANKS[target]
    selection = Selection(scorer="clap", candidates=count, max_rounds=10 // count, bank=bank)
    likeness = scores(count, len(SEEDS), 10, bank.size if bank else 1)
    likeness[3] = np.nan
    thresholds = [-1.0, -0.3, 0.4, 0.7, 0.9, 0.99]
    found = replay(seen(likeness, selection, SEEDS), selection, thresholds)
    for number, threshold in enumerate(thresholds):
        rule = selection.model_copy(update={"threshold": threshold})
        for request, seed in enumerate(SEEDS):
            pick = picked(rule, seed, likeness[request])
            ours = (found.candidate[number, request], found.made[number, request], found.accepted[number, request])
            assert ours == (pick.candidate, pick.made, pick.accepted)
    assert found.accepted.any() and not found.accepted.all()
