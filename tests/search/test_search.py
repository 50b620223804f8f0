"""Whole searches on Ray: what they find, what they leave on disk, and what happens when they are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from foleyray.clips import ClassList
from foleyray.config import UserError
from foleyray.progress import Quiet
from foleyray.search.config import SearchConfig
from foleyray.search.results import read_winners
from foleyray.search.run import search
from tests.search.toy_noise import CLASSES, SYSTEM, TARGETS, config, trained, write_store

SETTINGS = SearchConfig(trials=6, clips=8, checkpoints=2)
ROOT = Path(__file__).parents[2]


class Scene:
    def __init__(self, folder, **how):
        self.folder, self.out = folder, folder / "search"
        self.checkpoints, self.store = trained(folder / "train"), write_store(folder / "store")
        self.how = {"diary": folder / "diary"} | how

    def search(self, settings=SETTINGS):
        return search(SYSTEM, config(**self.how), settings, self.store, self.checkpoints, self.out, progress=Quiet())

    def diary(self):
        return (self.folder / "diary").read_text().splitlines()

    def trials(self):
        return [json.loads(line) for line in (self.out / "trials.jsonl").read_text().splitlines()]


@pytest.mark.ray
def test_a_search_beats_its_start_and_can_be_read(tmp_path, ray_session):
    scene = Scene(tmp_path)
    winners = scene.search()
    assert read_winners(scene.out, CLASSES) == winners
    rows = scene.trials()
    assert Counter(row["class"] for row in rows) == {"Dull": 6, "Bright": 6}
    for name, target in zip(CLASSES.names, TARGETS, strict=True):
        own = [row for row in rows if row["class"] == name]
        best = min((row for row in own if not row["stopped"]), key=lambda row: row["fad"])
        assert own[0]["params"] == {"tilt": 1.0, "repeats": 1, "polarity": "up"}
        assert own[0]["checkpoint"] == "noise/0a1b2c3d/step-000000030"
        assert (winners[name].params, winners[name].fad, winners[name].clips) == (best["params"], best["fad"], 8)
        assert winners[name].fad < 0.7 * own[0]["fad"]
        assert abs(winners[name].params["tilt"] - target) < abs(1.0 - target)
        assert {row["clips"] for row in own if row["stopped"]} <= {2, 4}
    assert_processes_were_kept(scene)
    assert_dashboards_can_read(scene)
    assert_no_work_is_done_twice(scene, winners)
    assert_more_trials_add_to_it(scene)


def assert_processes_were_kept(scene):
    """A process loads each candidate once, however many trials it runs."""
    loads = Counter(line for line in scene.diary() if " load " in line)
    assert set(loads.values()) == {1}
    assert len({line.split()[0] for line in loads}) <= SETTINGS.concurrent
    seeds = [int(line.split()[-1]) for line in scene.diary() if " clip " in line]
    assert set(seeds) <= set(SETTINGS.clip_seeds("search"))
    assert len(seeds) == sum(row["clips"] for row in scene.trials())


def assert_dashboards_can_read(scene):
    folders = {file.parent for file in scene.out.rglob("events.out.tfevents.*")}
    assert len(folders) == 12
    for folder in folders:
        events = EventAccumulator(str(folder)).Reload()
        assert len(events.Scalars("ray/tune/fad")) in (1, 2, 3)
        assert (folder / "result.json").exists()


def assert_no_work_is_done_twice(scene, winners):
    before = scene.diary()
    assert scene.search() == winners
    assert scene.diary() == before


def assert_more_trials_add_to_it(scene):
    winners = scene.search(SETTINGS.model_copy(update={"trials": 7}))
    assert {winner.trials for winner in winners.values()} == {7}
    assert len(scene.trials()) == 14
    assert len({file.parent for file in scene.out.rglob("events.out.tfevents.*")}) == 14


@pytest.mark.ray
def test_a_mistake_that_only_a_worker_sees_comes_back_as_a_sentence(tmp_path, ray_session):
    scene = Scene(tmp_path)
    for checkpoint in scene.checkpoints["noise"]:
        (checkpoint.path / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"^[^\n]*weights.safetensors is missing; the checkpoint is incomplete[^\n]*$"):
        scene.search(SETTINGS.model_copy(update={"concurrent": 1}))
    with pytest.raises(UserError, match=r"search.gpus_per_trial is 64, but this machine has \d"):
        scene.search(SETTINGS.model_copy(update={"gpus_per_trial": 64.0}))


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_search_goes_on_and_repeats_no_finished_trial(tmp_path):
    """The driver gets a SIGKILL in the middle of its trials, and is asked again."""
    write_store(tmp_path / "store")
    trained(tmp_path / "train")
    driver = start_driver(tmp_path)
    journal = wait_for(lambda: next(tmp_path.glob("search/studies/*/journal.log"), None), driver)
    wait_for(lambda: finished(journal) >= 3, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = finished(journal)
    assert 3 <= done < 12
    assert start_driver(tmp_path).wait(timeout=240) == 0
    rows = [json.loads(line) for line in (tmp_path / "search" / "trials.jsonl").read_text().splitlines()]
    assert Counter(row["class"] for row in rows) == {"Dull": 6, "Bright": 6}
    assert finished(journal) == 12
    assert set(read_winners(tmp_path / "search", CLASSES)) == set(CLASSES.names)
    assert f"{done} of 12 trials were done" in (tmp_path / "said").read_text()


def start_driver(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "tests.search.drive_noise", str(folder)], cwd=ROOT, env=environment)


def finished(journal):
    """Trials told as complete or pruned, in the words of Optuna's journal (op code 6 sets a trial's state)."""
    lines = (json.loads(line) for line in journal.read_text().splitlines() if line.endswith("}"))
    return sum(line["op_code"] == 6 and line["state"] in (1, 2) for line in lines)


def wait_for(condition, driver, seconds=180):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert driver.poll() is None, f"the driver ended with {driver.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_too_few_reference_clips_are_refused(tmp_path):
    store = write_store(tmp_path / "store", {"train": (1, 1), "reference": (1, 4), "held_out": (2, 2)})
    with pytest.raises(UserError, match=r"'reference' of .* has fewer than 2 clips of Dull"):
        search(SYSTEM, config(), SETTINGS, store, trained(tmp_path / "train"), tmp_path / "search", progress=Quiet())


def test_mistakes_are_found_before_ray_starts(tmp_path):
    store, checkpoints = write_store(tmp_path / "store"), trained(tmp_path / "train")

    def attempt(settings=SETTINGS, checkpoints=checkpoints):
        search(SYSTEM, config(), settings, store, checkpoints, tmp_path / "search", progress=Quiet())

    with pytest.raises(UserError, match=r"unknown embedder 'logmell' \(did you mean 'logmel'\?\)"):
        attempt(SearchConfig(embedder="logmell"))
    with pytest.raises(UserError, match="no checkpoint beyond step 0"):
        attempt(checkpoints={})
    with pytest.raises(UserError, match="but the store has"):
        attempt(checkpoints=trained(tmp_path / "other", ClassList(names=("Dull", "Shrill"))))
    assert not (tmp_path / "search").exists()
