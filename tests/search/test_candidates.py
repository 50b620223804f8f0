"""Which checkpoints a search may choose from."""

from pathlib import Path

import pytest

from foleyray.clips import ClassList
from foleyray.config import UserError
from foleyray.search.candidates import Candidates, by_ids, ids, newest
from tests.search.toy_noise import CLASSES, SYSTEM, config, trained


def steps(candidates):
    return [(candidate["base"].card.step, candidate["noise"].card.step) for candidate in candidates]


def test_the_newest_of_every_stage_first_and_never_step_0(tmp_path):
    checkpoints = trained(tmp_path)
    two = newest(SYSTEM, config(), checkpoints, CLASSES, 2)
    assert steps(two) == [(30, 30), (30, 20), (20, 30), (20, 20)]
    assert two.num_ages == {"base": 2, "noise": 2} and len(two) == 4
    assert steps(newest(SYSTEM, config(), checkpoints, CLASSES, 9))[:4] == [(30, 30), (30, 20), (30, 10), (20, 30)]
    with pytest.raises(IndexError):
        two[4]


def test_a_stage_of_which_one_is_kept_does_not_vary(tmp_path):
    checkpoints = trained(tmp_path)
    del checkpoints["base"][1:3]
    found = newest(SYSTEM, config(), checkpoints, CLASSES, 3)
    assert steps(found) == [(30, 30), (30, 20), (30, 10)] and found.num_ages == {"base": 1, "noise": 3}


def test_many_candidates_are_not_made_before_they_are_asked_for(tmp_path):
    stages = {f"stage{number}": tuple(trained(tmp_path)["noise"]) for number in range(20)}
    many = Candidates(stages)
    assert len(many) == 4**20
    ages = (list(stages["stage0"]).index(step) for step in many[4**20 - 2].values())
    assert list(ages) == [3] * 19 + [2]


def test_paths_are_good_in_any_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    candidate, *_ = newest(SYSTEM, config(), trained(Path("run")), CLASSES, 1)
    assert all(checkpoint.path.is_absolute() for checkpoint in candidate.values())


def test_a_candidate_is_found_again_by_its_ids(tmp_path):
    checkpoints = trained(tmp_path)
    candidate = newest(SYSTEM, config(), checkpoints, CLASSES, 2)[1]
    assert by_ids(ids(candidate), checkpoints) == candidate
    del checkpoints["noise"][2]
    with pytest.raises(UserError, match=r"noise/0a1b2c3d/step-000000020, which is no longer there"):
        by_ids(ids(candidate), checkpoints)


def test_untrained_stages_are_refused(tmp_path):
    with pytest.raises(UserError, match="stage base of noise has no checkpoint beyond step 0"):
        newest(SYSTEM, config(), trained(tmp_path, steps=(0,)), CLASSES, 2)
    with pytest.raises(UserError, match="stage noise of noise"):
        newest(SYSTEM, config(), {"base": trained(tmp_path)["base"]}, CLASSES, 2)


def test_other_classes_are_refused(tmp_path):
    checkpoints = trained(tmp_path, ClassList(names=("Dull", "Shrill")))
    with pytest.raises(UserError, match="was trained on the classes Dull, Shrill, but the store has Dull, Bright"):
        newest(SYSTEM, config(), checkpoints, CLASSES, 2)
