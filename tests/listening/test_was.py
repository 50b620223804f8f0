"""The formula against the challenge's own figures, means by hand, and intervals that hold what they promise."""

import numpy as np
import pytest

from foleyray.listening.key import save_key
from foleyray.listening.table import was_table
from foleyray.listening.was import Resampler, SetScores, was
from tests.listening.evalsets import sheet_of, write_sheet

HIGH = {"quality": 8, "fit": 6, "diversity": 4}
LOW = {"quality": 3, "fit": 5, "diversity": 7}


def test_the_challenge_s_figures():
    """Results page of DCASE 2023 Task 7: Gaudio's three terms, the baseline's two."""
    assert was(6.657, 7.154, 7.213) == pytest.approx(6.967, abs=5e-4)
    diversity = 5 * 6.967 - 2 * (6.657 + 7.154)
    assert diversity == pytest.approx(7.213, abs=1e-9)
    assert was(3.831, 3.789) == pytest.approx(3.810)
    assert was(2.930, 2.447) == pytest.approx(2.688, abs=1e-3)


def table(tmp_path, key, *sheets, seed=0):
    save_key(tmp_path / "listen.key.json", key)
    return was_table([write_sheet(tmp_path, sheet) for sheet in sheets], key=None, seed=seed)


def test_means_by_system(tmp_path, key):
    one = sheet_of(key, "one", {"quince": HIGH, "medlar": LOW})
    two = sheet_of(key, "two", {"quince": {"quality": 6, "fit": 6, "diversity": 6}, "medlar": LOW})
    found = table(tmp_path, key, one, two)
    assert found.raters == ("one", "two") and found.num_ratings == 40 and found.num_missing == 0 and not found.warnings
    quince, medlar = found.systems["quince"], found.systems["medlar"]
    assert (quince.quality, quince.fit, quince.diversity) == (7, 6, 5) and quince.was == pytest.approx((14 + 12 + 5) / 5)
    assert medlar.was == pytest.approx((6 + 10 + 7) / 5) and medlar.interval == (medlar.was, medlar.was)
    assert set(quince.classes) == {found.class_name for found in key.sets.values()}
    dog = quince.classes["DogBark"]
    assert (dog.num_clips, dog.num_raters, dog.num_ratings) == (2, 2, 10) and dog.was == pytest.approx(quince.was)


def test_was_is_the_mean_over_classes(tmp_path, key):
    sheet = sheet_of(key, "one", {"quince": HIGH, "medlar": LOW})
    set_id = next(name for name, found in key.sets.items() if (found.system, found.class_name) == ("quince", "DogBark"))
    for rating in sheet["ratings"]:
        if rating["item"] == set_id or rating["item"] in key.sets[set_id].clips:
            rating["value"] = 1
    quince = table(tmp_path, key, sheet).systems["quince"]
    assert quince.classes["DogBark"].was == 1 and quince.was == pytest.approx((1 + (16 + 12 + 4) / 5) / 2)


def test_without_diversity_there_are_two_terms_and_it_is_said(tmp_path, key):
    terms = {"quality": 3, "fit": 4}
    found = table(tmp_path, key, sheet_of(key, "one", {"quince": terms, "medlar": terms}))
    assert not found.has_diversity and found.systems["quince"].was == 3.5 and found.systems["quince"].diversity is None
    assert any("not comparable" in words for words in found.warnings)
    assert any("left out 4 of 20 scores" in words for words in found.warnings)


def test_a_term_that_only_one_system_lacks_leaves_it_without_a_number(tmp_path, key):
    found = table(tmp_path, key, sheet_of(key, "one", {"quince": HIGH, "medlar": {"quality": 9, "fit": 9}}))
    assert found.systems["quince"].was is not None
    assert found.systems["medlar"].was is None and found.systems["medlar"].interval is None
    assert any("'medlar' has no WAS" in words and "DogBark" in words for words in found.warnings)


def test_an_incomplete_sheet_counts_with_what_it_holds(tmp_path, key):
    whole, partial = (sheet_of(key, name, {"quince": HIGH, "medlar": LOW}) for name in ("one", "two"))
    del partial["ratings"][3:]
    partial["missing"] = 17
    found = table(tmp_path, key, whole, partial)
    assert (found.num_ratings, found.num_missing) == (23, 17)
    assert found.warnings == ("rater 'two' left out 17 of 20 scores",)
    assert found.systems["quince"].was == pytest.approx(6.4)


def test_one_rater_has_no_interval_and_an_empty_sheet_is_no_rater(tmp_path, key):
    empty = {"page": key.page, "rater": "two", "missing": 20, "ratings": []}
    found = table(tmp_path, key, sheet_of(key, "one", {"quince": HIGH, "medlar": LOW}), empty)
    assert found.raters == ("one",) and found.systems["quince"].interval is None
    assert "rater 'two' gave no score and is not counted" in found.warnings
    assert "a single rater: no interval can be told" in found.warnings


def test_the_seed_draws_the_interval(tmp_path, key):
    sheets = [
        sheet_of(key, name, {"quince": {**HIGH, "fit": fit}, "medlar": LOW}) for name, fit in (("a", 5), ("b", 6), ("c", 9))
    ]
    one, same, other = (table(tmp_path, key, *sheets, seed=seed).systems["quince"] for seed in (0, 0, 1))
    assert one.interval == same.interval != other.interval
    assert 1 <= one.interval[0] < one.was < one.interval[1] <= 10
    assert one.interval == pytest.approx(other.interval, abs=0.3)


def simulated(generator, num_raters: int, num_clips: int) -> SetScores:
    """Scores around 5.5: listeners differ, clips differ, and every score has its own error."""
    raters, clips = generator.normal(0, 0.7, (num_raters, 1)), generator.normal(0, 1, (1, num_clips))
    quality, fit = (5.5 + raters + clips + generator.normal(0, 1, (num_raters, num_clips)) for _ in range(2))
    return SetScores(quality, fit, 5.5 + raters + generator.normal(0, 1, (num_raters, 1)))


@pytest.mark.parametrize(("num_raters", "num_clips"), [(3, 5), (8, 10)])
def test_intervals_cover_what_they_promise(num_raters, num_clips):
    generator, held = np.random.default_rng(5), []
    for trial in range(200):
        scores = simulated(generator, num_raters, num_clips)
        means = scores.means()
        low, high = Resampler({"s": scores}, True, trial).interval(["s"], was(*means.values()))
        held.append(low <= 5.5 <= high)
    assert 0.9 <= np.mean(held) <= 0.995
