"""What a search leaves for others, and whose results may stay."""

import fcntl
import json
import math

import pytest

from foleyray.config import UserError
from foleyray.progress import Quiet
from foleyray.search.candidates import newest
from foleyray.search.config import SearchConfig
from foleyray.search.results import Winner, drop_winners, read_winners, write_trials, write_winner
from foleyray.search.run import Aim, run_studies
from foleyray.search.study import ClassStudy, open_journal
from tests.search.toy_noise import CLASSES, SYSTEM, NoiseParams, trained

SETTINGS = SearchConfig(trials=3, clips=8)


def winner(name, study):
    return Winner(
        system="noise",
        study=study,
        embedder="logmel:active",
        class_name=name,
        checkpoints={},
        params={},
        fad=1.0,
        clips=8,
        trial=0,
        trials=3,
    )


def finish(study, scores):
    """Ends a trial with each of the scores, the last of them stopped on the first rung."""
    study.resume()
    for score in scores:
        study.tell(study.ask(), 8, score, 0.5)
    trial = study.ask()
    study.is_losing(trial, 2, 9.0)
    study.tell(trial, 2, 9.0, 0.25)


def test_a_line_for_every_trial(tmp_path):
    candidates = newest(SYSTEM, config(), trained(tmp_path), CLASSES, 2)
    study = ClassStudy(open_journal(tmp_path / "journal.log"), "Dull", 0, NoiseParams, 2, SETTINGS)
    finish(study, [1.5, math.inf])
    write_trials(tmp_path, [study], candidates)
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "class": "Dull",
        "trial": 0,
        "checkpoint": "noise/0a1b2c3d/step-000000030",
        "params": {"tilt": 1.0, "repeats": 1, "polarity": "up"},
        "rungs": [[8, 1.5]],
        "fad": 1.5,
        "clips": 8,
        "stopped": False,
        "seconds": 0.5,
    }
    assert (rows[1]["fad"], rows[1]["stopped"]) == (None, False)
    assert (rows[2]["rungs"], rows[2]["fad"], rows[2]["clips"], rows[2]["stopped"]) == ([[2, 9.0]], 9.0, 2, True)


def test_results_of_other_searches_go(tmp_path):
    write_winner(tmp_path, winner("Dull", "5eed5eed"))
    write_winner(tmp_path, winner("Bright", "0ther000"))
    (tmp_path / "Torn").mkdir()
    (tmp_path / "Torn" / "result.json").write_text("{")
    drop_winners(tmp_path, "5eed5eed")
    assert [file.parent.name for file in tmp_path.glob("*/result.json")] == ["Dull"]
    with pytest.raises(UserError, match="no result for Bright; run `foleyray search` to its end first"):
        read_winners(tmp_path, CLASSES)


def aim(folder):
    return Aim(
        "noise", "logmel:active", NoiseParams, CLASSES, newest(SYSTEM, config(), trained(folder / "train"), CLASSES, 2), {"of": "noise"}
    )


def no_evaluator():
    raise AssertionError("there is nothing left to measure")


@pytest.mark.parametrize("best", [1.5, math.inf])
def test_finished_studies_are_read_and_not_run(tmp_path, best):
    """A search whose trials are all in the journal starts neither Ray nor an evaluator."""
    goal = aim(tmp_path)
    folder = tmp_path / "search" / "studies" / goal.name
    folder.mkdir(parents=True)
    journal = open_journal(folder / "journal.log")
    for label, name in enumerate(CLASSES.names):
        finish(ClassStudy(journal, name, label, NoiseParams, 2, SETTINGS), [best, math.inf])
    if math.isinf(best):
        with pytest.raises(UserError, match="none of the 3 trials of Dull made sounds that have a distance"):
            run_studies(goal, no_evaluator, SETTINGS, tmp_path / "search", Quiet())
    else:
        winners = run_studies(goal, no_evaluator, SETTINGS, tmp_path / "search", Quiet())
        assert winners == read_winners(tmp_path / "search", CLASSES)
        assert (winners["Dull"].fad, winners["Dull"].trial, winners["Dull"].trials) == (1.5, 0, 3)
    assert len((tmp_path / "search" / "trials.jsonl").read_text().splitlines()) == 6


def test_a_search_at_work_is_not_disturbed(tmp_path):
    goal = aim(tmp_path)
    folder = tmp_path / "search" / "studies" / goal.name
    folder.mkdir(parents=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another search is at work in"):
            run_studies(goal, no_evaluator, SETTINGS, tmp_path / "search", Quiet())
