"""Systems compare on equal terms only."""

from pathlib import Path

import pytest

from foleyray.config import UserError
from foleyray.search.config import ChoosingConfig, MixingConfig, SearchConfig
from foleyray.search.entries import SECTIONS, terms_of
from tests.search.toy_noise import SYSTEM, TWIN, entry

SETTINGS = SearchConfig()
OTHERS = {
    "embedder": "yamnet",
    "weights": Path("weights"),
    "clips": 16,
    "rungs": 2,
    "promote_clips": 65,
    "seed": 1,
    "protocol": "paper_selection",
}


@pytest.mark.parametrize("term", OTHERS)
def test_terms_must_be_equal(term):
    other = SETTINGS.model_copy(update={term: OTHERS[term]})
    ours, theirs = getattr(SETTINGS, term), OTHERS[term]
    with pytest.raises(UserError, match=rf"^search\.{term} is {ours} for noise and {theirs} for twin, so their distances"):
        terms_of([entry(SETTINGS), entry(other, TWIN)])


def test_sections_must_be_equal_setting_by_setting():
    with_choosing, other = (SETTINGS.model_copy(update={"choosing": ChoosingConfig(thresholds=count)}) for count in (100, 50))
    with pytest.raises(UserError, match=r"search\.choosing is null for noise and given for twin.* --set search\.choosing=null"):
        terms_of([entry(SETTINGS), entry(with_choosing, TWIN)])
    with pytest.raises(UserError, match=r"search\.choosing\.thresholds is 100 for noise and 50 for twin"):
        terms_of([entry(with_choosing), entry(other, TWIN)])
    mixed = SETTINGS.model_copy(update={"mixing": MixingConfig()})
    with pytest.raises(UserError, match=r"search\.mixing is given for noise and null for twin"):
        terms_of([entry(mixed), entry(SETTINGS, TWIN)])


def test_budget_and_machines_are_each_systems_own():
    own = {"trials": 3, "checkpoints": 1, "batch_size": 2, "concurrent": 1, "cpus_per_trial": 2.0, "gpus_per_trial": 0.5}
    own |= {"max_clips": 100, "max_minutes": 2.0}
    begun = ({"starts": {"all": ({"tilt": 1.0},)}}, {"grid": ({"tilt": (1.0,)},)})
    assert own.keys() | OTHERS.keys() | {*SECTIONS, "starts", "grid"} == SearchConfig.model_fields.keys()
    for way in begun:
        assert terms_of([entry(SETTINGS), entry(SETTINGS.model_copy(update=own | way), TWIN)]) == SETTINGS


def test_a_system_takes_part_once():
    with pytest.raises(UserError, match="2 configs are of the system noise"):
        terms_of([entry(SETTINGS), entry(SETTINGS, TWIN), entry(SETTINGS, SYSTEM)])
