"""What a search leaves for others, and whose results may stay."""

import fcntl
import json
import math

import pytest

from foleyray.config import UserError
from foleyray.corpus.store import open_store
from foleyray.progress import Quiet
from foleyray.search.candidates import newest
from foleyray.search.config import SearchConfig
from foleyray.search.results import Searched, Winner, drop_winners, read_winners, winner_of, write_trials, write_winner
from foleyray.search.run import Aim, run_studies
from foleyray.search.study import ClassStudy, open_journal
from tests.search.toy_noise import CLASSES, SYSTEM, TWIN, NoiseParams, config, trained, write_store

SETTINGS = SearchConfig(trials=3, clips=8)


def winner(name, **studies):
    return Winner(
        system="noise",
        studies=studies,
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


def searched(folder, system, scores):
    """The finished studies of a system, whose trials had these scores by class."""
    candidates = newest(system, config(system), trained(folder / "train", system=system), CLASSES, 2)
    journal = open_journal(folder / f"{system.name}.log")
    studies = []
    for label, name in enumerate(CLASSES.names):
        studies.append(ClassStudy(journal, name, label, NoiseParams, candidates.num_ages, SETTINGS))
        finish(studies[-1], scores[name])
    return Searched(system.name, f"5tudy{system.name}", "logmel:active", candidates, studies)


def test_a_line_for_every_trial(tmp_path):
    write_trials(tmp_path, [searched(tmp_path, SYSTEM, {"Dull": [1.5, math.inf], "Bright": [2.0]})])
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "class": "Dull",
        "system": "noise",
        "trial": 0,
        "checkpoints": {"base": "base/0a1b2c3d/step-000000030", "noise": "noise/0a1b2c3d/step-000000030"},
        "params": {"tilt": 1.0, "repeats": 1, "polarity": "up"},
        "rungs": [[8, 1.5]],
        "fad": 1.5,
        "clips": 8,
        "stopped": False,
        "seconds": 0.5,
    }
    assert (rows[1]["fad"], rows[1]["stopped"]) == (None, False)
    assert (rows[2]["rungs"], rows[2]["fad"], rows[2]["clips"], rows[2]["stopped"]) == ([[2, 9.0]], 9.0, 2, True)
    assert [row["class"] for row in rows[3:]] == ["Bright", "Bright"]


def test_the_best_of_all_systems_wins_and_every_other_system_is_a_rival(tmp_path):
    noise = searched(tmp_path, SYSTEM, {"Dull": [1.5, 1.2, math.inf], "Bright": [5.0]})
    twin = searched(tmp_path, TWIN, {"Dull": [3.0, 4.0], "Bright": [4.0, 6.0]})
    dull, bright = (winner_of(name, [noise, twin]) for name in CLASSES.names)
    assert (dull.system, dull.fad, dull.clips, dull.trials) == ("noise", 1.2, 8, 4 + 3)
    assert [(rival.system, rival.fad) for rival in dull.rivals] == [("noise", 1.5), ("twin", 3.0)]
    assert (bright.system, bright.fad) == ("twin", 4.0)
    assert [(rival.system, rival.fad) for rival in bright.rivals] == [("noise", 5.0)]
    assert dull.studies == bright.studies == {"noise": "5tudynoise", "twin": "5tudytwin"}
    assert all(path.split("/")[1] == "7b7b7b7b" for path in bright.checkpoints.values())


def test_a_system_without_a_distance_neither_wins_nor_stops_the_others(tmp_path):
    noise = searched(tmp_path, SYSTEM, {"Dull": [math.inf], "Bright": [math.inf]})
    twin = searched(tmp_path, TWIN, {"Dull": [3.0], "Bright": [math.inf]})
    assert (winner_of("Dull", [noise, twin]).system, winner_of("Dull", [noise, twin]).rivals) == ("twin", ())
    with pytest.raises(UserError, match=r"none of the 4 trials of Bright .* train noise and twin again"):
        winner_of("Bright", [noise, twin])


def test_results_of_other_searches_go(tmp_path):
    write_winner(tmp_path, winner("Dull", noise="5eed5eed", twin="7b7b7b7b"))
    write_winner(tmp_path, winner("Bright", noise="5eed5eed"))
    (tmp_path / "Torn").mkdir()
    (tmp_path / "Torn" / "result.json").write_text("{")
    drop_winners(tmp_path, {"twin": "7b7b7b7b", "noise": "5eed5eed"}, "")
    assert [file.parent.name for file in tmp_path.glob("*/result.json")] == ["Dull"]
    with pytest.raises(UserError, match="no result for Bright; run `foleyray search` to its end first"):
        read_winners(tmp_path, CLASSES)


def no_evaluator():
    raise AssertionError("there is nothing left to measure")


def aim(folder, system=SYSTEM, make=no_evaluator):
    candidates = newest(system, config(system), trained(folder / "train", system=system), CLASSES, 2)
    identity, store = {"of": system.name}, open_store(folder / "store")
    return Aim(system.name, "logmel:active", NoiseParams, CLASSES, candidates, SETTINGS, make, identity, store)


@pytest.mark.parametrize("best", [1.5, math.inf])
def test_finished_studies_are_read_and_not_run(tmp_path, best):
    """Searches whose trials are all in their journals start neither Ray nor an evaluator."""
    write_store(tmp_path / "store")
    goals = [aim(tmp_path), aim(tmp_path, TWIN)]
    for goal in goals:
        folder = tmp_path / "search" / "studies" / goal.name
        folder.mkdir(parents=True)
        journal = open_journal(folder / "journal.log")
        for label, name in enumerate(CLASSES.names):
            finish(ClassStudy(journal, name, label, NoiseParams, goal.candidates.num_ages, SETTINGS), [best, math.inf])
    if math.isinf(best):
        with pytest.raises(UserError, match="none of the 6 trials of Dull made sounds that have a distance"):
            run_studies(goals, tmp_path / "search", Quiet())
    else:
        winners = run_studies(goals, tmp_path / "search", Quiet())
        assert winners == read_winners(tmp_path / "search", CLASSES)
        assert (winners["Dull"].fad, winners["Dull"].trial, winners["Dull"].trials) == (1.5, 0, 6)
    assert len((tmp_path / "search" / "trials.jsonl").read_text().splitlines()) == 12


def test_a_search_at_work_is_not_disturbed(tmp_path):
    write_store(tmp_path / "store")
    goals = [aim(tmp_path), aim(tmp_path, TWIN)]
    folder = tmp_path / "search" / "studies" / goals[1].name
    folder.mkdir(parents=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another search is at work in"):
            run_studies(goals, tmp_path / "search", Quiet())
