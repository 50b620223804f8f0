"""The phases of a run: what is finished is skipped, what changed is done again, what failed is not recorded."""

import sys
from dataclasses import replace
from types import ModuleType
from typing import Literal

import numpy as np
import pytest
import soundfile

from foleyray import system
from foleyray.checkpoint import last
from foleyray.ensemble import Ensemble
from foleyray.pipeline import Diary, Plan, run
from foleyray.progress import Quiet
from foleyray.search.config import SearchConfig
from foleyray.search.entries import Entry
from tests.train import toy


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


class DuoConfig(toy.ToyConfig):
    system: Literal["duo"] = "duo"


DUO = replace(toy.SYSTEM, name="duo", config=DuoConfig)
TRAINING = {"steps": 4, "batch_size": 4, "checkpoint_every": 2}


@pytest.fixture
def both_found(monkeypatch):
    """Two small systems that are found by name, as those of the package are."""
    monkeypatch.setattr(system, "names", lambda: ["duo", "toy"])
    for one in (toy.SYSTEM, DUO):
        module = ModuleType(one.name)
        module.SYSTEM = one
        monkeypatch.setitem(sys.modules, f"foleyray.systems.{one.name}", module)


def plan(folder, *systems):
    settings = SearchConfig(trials=2, clips=4, rungs=1, promote_clips=3, concurrent=1)
    entries = [Entry(one, one.config(training=dict.fromkeys(("classifier", "players"), TRAINING)), settings) for one in systems]
    return Plan(str(folder / "recordings"), folder / "run", entries, workers=0, max_rejected=0.0, argv=["foleyray", "run"])


def write_recordings(folder):
    """Twelve tones a class, of pitches of their own."""
    seconds = np.arange(toy.CLIP.num_samples) / toy.CLIP.sample_rate_hz
    for base_hz, name in ((200, "Low"), (1500, "High")):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            wave = 0.5 * np.sin(2 * np.pi * (base_hz + 20 * number) * seconds)
            soundfile.write(folder / name / f"{number}.wav", wave, toy.CLIP.sample_rate_hz)


@pytest.mark.ray
@pytest.mark.slow
def test_a_system_that_is_added_is_all_that_is_trained_and_searched(tmp_path, both_found, ray_session):
    write_recordings(tmp_path / "recordings")
    said = []
    for systems in ([toy.SYSTEM], [toy.SYSTEM], [toy.SYSTEM, DUO]):
        spoken = Spoken()
        page = run(plan(tmp_path, *systems), spoken)
        said.append("\n".join(spoken.sentences))
    assert "skipped" not in said[0] and said[1].count("skipped") == len(("train", "search", "promote", "report"))
    assert "train toy: finished" in said[2] and "toy is searched already" in said[2] and said[2].count("skipped") == 1
    ensemble = Ensemble.load(tmp_path / "run")
    assert ensemble.systems == ("duo", "toy")
    for members in ensemble.classes.values():
        assert members[0].standings.keys() == {"duo", "toy"}
    for stage in ("classifier", "players"):
        cards = [last(folder).card for folder in (tmp_path / "run" / "train" / stage).iterdir()]
        assert sorted(card.system for card in cards) == ["duo", "toy"], "the same stage of two systems has two folders"
    assert 'id="systems"' in page.read_text()
