"""The diary of phases: what is finished is skipped, what changed is done again, what failed is not recorded."""

import pytest

from foleyray.pipeline import Diary
from foleyray.progress import Quiet


class Spoken(Quiet):
    def __init__(self):
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def test_a_finished_phase_is_skipped(tmp_path):
    calls: list[str] = []
    spoken = Spoken()
    for key in ("a", "a", "b"):
        diary = Diary(tmp_path / "timings.json", spoken, lambda: calls.append("before"))
        diary.once("train", key, lambda key=key: calls.append(key))
    assert calls == ["before", "a", "before", "b"]
    assert sum("skipped" in sentence for sentence in spoken.sentences) == 1


def test_a_failed_phase_is_done_again(tmp_path):
    diary = Diary(tmp_path / "timings.json", Quiet(), lambda: None)
    with pytest.raises(ZeroDivisionError):
        diary.once("train", "a", lambda: 1 // 0)
    assert "train" not in Diary(tmp_path / "timings.json", Quiet(), lambda: None).records


def test_work_that_knows_itself_always_runs(tmp_path):
    diary = Diary(tmp_path / "timings.json", Quiet(), lambda: None)
    assert diary.always("corpus", lambda: 1) == 1
    assert diary.always("corpus", lambda: 2) == 2
    assert diary.records["corpus"]["seconds"] >= 0
