"""What one class's study asks, stops and remembers, without Ray."""

import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from foleyray.config import UserError
from foleyray.sampling import Float
from foleyray.search.candidates import newest
from foleyray.search.config import SearchConfig
from foleyray.search.study import ClassStudy, open_journal
from foleyray.search.trial import Point, point, space, start
from tests.search.toy_noise import CLASSES, SYSTEM, NoiseParams, config, trained


def open_study(folder, **settings):
    journal = open_journal(folder / "journal.log")
    study = ClassStudy(journal, "Dull", 0, NoiseParams, {"base": 1, "noise": 3}, SearchConfig(**settings))
    study.resume()
    return study


def run(study, trials, distance=lambda point, clips: abs(point.params["tilt"] - 0.3) + point.candidate + 1 / clips):
    """Runs trials to their end or to the rung that stops them, as Tune does."""
    for _ in range(trials):
        trial = study.ask()
        for clips in study.settings.rung_clips:
            score = distance(study.point(trial), clips)
            if clips == study.settings.clips or study.is_losing(trial, clips, score):
                study.tell(trial, clips, score, 0.1)
                break


def test_the_space_is_the_declared_one():
    """Every stage that has a choice is a parameter of its own, and so is everything the system declares."""
    params = {
        "tilt": FloatDistribution(0.0, 2.0),
        "repeats": IntDistribution(1, 3),
        "polarity": CategoricalDistribution(("up", "down")),
    }
    assert space(NoiseParams, {"vocoder": 1, "base": 2, "noise": 3}) == {
        "base_age": CategoricalDistribution((0, 1)),
        "noise_age": CategoricalDistribution((0, 1, 2)),
        **params,
    }
    assert space(NoiseParams, {"base": 1, "noise": 1}) == params
    assert start(NoiseParams, {"base": 1, "noise": 3}) == {"noise_age": 0, "tilt": 1.0, "repeats": 1, "polarity": "up"}


class AskedParams(NoiseParams):
    level: float = Float(0.0, 1.0, start=0.5, help="of the wave", searched=False)


def test_what_is_left_to_who_asks_is_not_searched():
    assert AskedParams.space().keys() - space(AskedParams, {}).keys() == {"level"}
    assert "level" not in start(AskedParams, {})


def test_ages_are_the_candidate_they_choose(tmp_path):
    candidates = newest(SYSTEM, config(), trained(tmp_path), CLASSES, 3)
    assert point({"tilt": 0.5}, candidates.num_ages) == Point(0, {"tilt": 0.5})
    for base in range(3):
        for noise in range(3):
            chosen = point({"noise_age": noise, "base_age": base, "tilt": 0.5}, candidates.num_ages)
            assert chosen.params == {"tilt": 0.5}
            assert {stage: step.card.step for stage, step in candidates[chosen.candidate].items()} == {
                "base": 30 - 10 * base,
                "noise": 30 - 10 * noise,
            }


def test_rungs_double_and_end_with_all_clips():
    assert SearchConfig(clips=32, rungs=3).rung_clips == (8, 16, 32)
    assert SearchConfig(clips=18, rungs=3).rung_clips == (4, 8, 18)
    assert SearchConfig(clips=5, rungs=1).rung_clips == (5,)
    with pytest.raises(UserError, match="3 rungs need at least 8 clips"):
        SearchConfig.parse({"clips": 7}, "here")


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_seeds_of_search_and_promotion_never_meet(seed):
    settings = SearchConfig(seed=seed, clips=500, rungs=1, promote_clips=800)
    searched, promoted = settings.clip_seeds("search"), settings.clip_seeds("promotion")
    assert (len(searched), len(promoted)) == (500, 800)
    assert not set(searched) & set(promoted)
    assert min(searched) >= 0 and max(promoted) < 2**63
    other = SearchConfig(seed=seed + 1)
    assert not {*searched, *promoted} & {*other.clip_seeds("search"), *other.clip_seeds("promotion")}


def test_the_first_trial_is_the_start_and_a_search_beats_it(tmp_path):
    study = open_study(tmp_path, trials=25, clips=8)
    run(study, 25)
    first = study.tried()[0]
    assert first.point == Point(0, {"tilt": 1.0, "repeats": 1, "polarity": "up"})
    assert not first.stopped
    assert study.ranked()[0].fad < first.fad - 0.3
    assert study.ranked()[0].clips == 8
    assert study.num_left == 0


def test_losers_stop_early_and_are_never_best(tmp_path):
    study = open_study(tmp_path, trials=12, clips=8)
    run(study, 12)
    stopped = [trial for trial in study.tried() if trial.stopped]
    assert 3 <= len(stopped) <= 10
    assert {trial.clips for trial in stopped} <= {2, 4}
    assert all(trial.clips == 8 for trial in study.tried() if not trial.stopped)
    assert not study.ranked()[0].stopped


def test_a_runner_up_is_another_point(tmp_path):
    study = open_study(tmp_path, trials=12, clips=8)
    run(study, 12)
    ranked = study.ranked()
    whole = [trial for trial in study.tried() if not trial.stopped]
    assert len({repr(trial.point) for trial in ranked}) == len(ranked) == len({repr(trial.point) for trial in whole})
    assert [trial.fad for trial in ranked] == sorted(trial.fad for trial in ranked)


def test_one_rung_stops_nobody(tmp_path):
    study = open_study(tmp_path, trials=6, clips=8, rungs=1)
    run(study, 6)
    assert [trial.clips for trial in study.tried()] == [8] * 6


def test_a_killed_search_finds_what_an_uninterrupted_one_finds(tmp_path):
    """The journal is read again after every second trial, each time with a trial left half done."""
    (tmp_path / "whole").mkdir()
    whole = open_study(tmp_path / "whole", trials=12, clips=8)
    run(whole, 12)
    for _ in range(6):
        study = open_study(tmp_path, trials=12, clips=8)
        run(study, 2)
        study.is_losing(study.ask(), 2, 0.5)
    assert open_study(tmp_path, trials=12, clips=8).tried() == whole.tried()


def test_more_trials_go_on_where_the_search_ended(tmp_path):
    run(open_study(tmp_path, trials=4, clips=8), 4)
    study = open_study(tmp_path, trials=9, clips=8)
    assert (len(study.tried()), study.num_left) == (4, 5)
    run(study, 5)
    (tmp_path / "at once").mkdir()
    at_once = open_study(tmp_path / "at once", trials=9, clips=8)
    run(at_once, 9)
    assert study.tried() == at_once.tried()


def test_a_distance_that_does_not_exist_loses(tmp_path):
    study = open_study(tmp_path, trials=10, clips=8)
    run(study, 10, lambda point, clips: math.inf if point.candidate == 0 else 1.0 + point.params["tilt"])
    assert study.ranked()[0].point.candidate != 0
    assert study.ranked()[0].fad < math.inf


def test_the_journal_is_an_optuna_study(tmp_path):
    run(open_study(tmp_path, trials=3, clips=8), 3)
    loaded = optuna.load_study(study_name="Dull", storage=open_journal(tmp_path / "journal.log"))
    assert len(loaded.trials) == 3
    assert loaded.best_value == open_study(tmp_path, trials=3, clips=8).ranked()[0].fad
