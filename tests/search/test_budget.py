"""What making may spend, and where it is told to begin: on real studies, handed out as Tune is handed them."""

import pytest
from ray.tune.search import Searcher

from foleyray.config import UserError
from foleyray.search.budget import Budget
from foleyray.search.config import SearchConfig
from foleyray.search.starts import check_starts
from foleyray.search.study import ClassStudy, open_journal
from foleyray.search.tuning import Studies
from tests.search.toy_noise import CLASSES, SYSTEM, NoiseParams

SECONDS = 30.0


def studies(folder, settings):
    journal = open_journal(folder / "journal.log")
    found = [ClassStudy(journal, name, label, NoiseParams, {"base": 2}, settings) for label, name in enumerate(CLASSES.names)]
    for study in found:
        study.resume()
    return found


def run(folder, settings, most=99, concurrent=1):
    """The points that are handed out, `concurrent` at a time, each ended with all its clips; at most `most` of them."""
    own = studies(folder, settings)
    searcher = Studies(own, Budget(settings, own), concurrent, lambda study, fad: None)
    begun, open_trials = [], []
    while len(begun) < most:
        answer = searcher.suggest(f"t{len(begun)}")
        if answer == Searcher.FINISHED:
            break
        if answer is not None:
            open_trials.append(f"t{len(begun)}")
            begun.append(answer)
        if answer is None or len(open_trials) == concurrent:
            result = {"clips": settings.clips, "fad": 1.0 + len(begun), "time_total_s": SECONDS}
            searcher.on_trial_complete(open_trials.pop(0), result)
    for trial in open_trials:
        searcher.on_trial_complete(trial, {"clips": settings.clips, "fad": 9.0, "time_total_s": SECONDS})
    return begun


def test_without_a_budget_all_trials_are_made(tmp_path):
    assert len(run(tmp_path, SearchConfig(trials=3, clips=8))) == 6


@pytest.mark.parametrize("concurrent", [1, 3])
def test_clips_end_the_making(tmp_path, concurrent):
    """40 clips are five trials of 8, however many run at a time."""
    begun = run(tmp_path, SearchConfig(trials=9, clips=8, max_clips=44), concurrent=concurrent)
    assert [len(begun), {point["class"] for point in begun[:2]}] == [5, set(CLASSES.names)]


def test_minutes_end_the_making(tmp_path):
    assert len(run(tmp_path, SearchConfig(trials=9, clips=8, max_minutes=1.6))) == 4


def test_every_class_gets_its_start_point(tmp_path):
    begun = run(tmp_path, SearchConfig(trials=9, clips=8, max_clips=1, max_minutes=0.001))
    assert [(point["class"], point["params"]["tilt"]) for point in begun] == [("Dull", 1.0), ("Bright", 1.0)]


def test_an_interrupted_search_does_not_begin_its_budget_again(tmp_path):
    settings = SearchConfig(trials=9, clips=8, max_clips=48)
    assert len(run(tmp_path, settings, most=4)) == 4
    assert len(run(tmp_path, settings)) == 2
    assert run(tmp_path, settings) == []
    assert len(run(tmp_path, settings.model_copy(update={"max_clips": 64}))) == 2


def test_points_to_start_from_follow_the_systems_own_and_its_start_at_older_checkpoints_follows_them(tmp_path):
    starts = {"all": ({"tilt": 0.5, "polarity": "down"},), "Bright": ({"tilt": 0.25}, {"tilt": 1.0})}
    settings = SearchConfig(trials=3, clips=8, starts=starts)
    tried = by_class(run(tmp_path, settings))
    own = {"tilt": 1.0, "repeats": 1, "polarity": "up"}
    assert tried["Dull"] == [(0, own), (0, own | {"tilt": 0.5, "polarity": "down"}), (1, own)]
    assert tried["Bright"] == [(0, own), (0, own | {"tilt": 0.5, "polarity": "down"}), (0, own | {"tilt": 0.25})]
    again = by_class(run(tmp_path, settings.model_copy(update={"trials": 4})))
    assert again["Bright"] == [(1, own)] and again["Dull"][0] not in tried["Dull"], "and each is tried once"


def by_class(begun):
    """Class -> candidate and parameters of what was handed out."""
    return {
        name: [(point["candidate"], point["params"]) for point in begun if point["class"] == name] for name in CLASSES.names
    }


def test_points_that_cannot_be_tried_are_refused():
    def check(starts):
        check_starts(SYSTEM, SearchConfig(starts=starts), CLASSES)

    check({"all": ({"tilt": 2},), "Dull": ({"repeats": 3},)})
    with pytest.raises(UserError, match=r"points for 'Dul' \(did you mean 'Dull'\?\); expected all, Dull, Bright"):
        check({"Dul": ({"tilt": 1.0},)})
    with pytest.raises(UserError, match=r"search.starts.all of noise: 'tild' is not a known setting \(did you mean 'tilt'\?\)"):
        check({"all": ({"tild": 1.0},)})
    with pytest.raises(UserError, match=r"search.starts.Dull of noise: 'tilt' is 2.5: .*less than or equal to 2"):
        check({"Dull": ({"tilt": 2.5},)})
