"""Whole searches on Ray: what they find, what they leave on disk, and what happens when they are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from foleyray.clips import ClassList
from foleyray.config import UserError
from foleyray.progress import Quiet
from foleyray.search.config import SearchConfig
from foleyray.search.results import read_winners
from foleyray.search.run import search
from tests.search.toy_noise import CLASSES, RUNS, SYSTEM, TARGETS, TWIN, entry, trained, write_store

SETTINGS = SearchConfig(trials=6, clips=8, checkpoints=2)
ROOT = Path(__file__).parents[2]


class Scene:
    def __init__(self, folder, **how):
        self.folder, self.out = folder, folder / "search"
        self.checkpoints = {system.name: trained(folder / "train", system=system) for system in (SYSTEM, TWIN)}
        self.store = write_store(folder / "store")
        self.how = {"diary": folder / "diary"} | how

    def search(self, settings=SETTINGS, entries=()):
        """Of one system, unless entries are given."""
        entries = entries or [entry(settings, **self.how)]
        return search(entries, self.checkpoints, self.store, self.out, progress=Quiet())

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
        assert set(own[0]["checkpoints"].values()) == {f"{stage}/0a1b2c3d/step-000000030" for stage in ("base", "noise")}
        assert (winners[name].params, winners[name].fad, winners[name].clips) == (best["params"], best["fad"], 8)
        assert winners[name].fad < 0.7 * own[0]["fad"]
        assert abs(winners[name].params["tilt"] - target) < abs(1.0 - target)
        assert {row["clips"] for row in own if row["stopped"]} <= {2, 4}
    for stage in ("base", "noise"):
        assert {row["checkpoints"][stage][-2:] for row in rows} == {"20", "30"}, "every stage varies among its two newest"
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
def test_each_class_gets_the_better_system_and_one_added_later_leaves_the_studies(tmp_path, ray_session):
    """NOISE knows nothing of Bright, TWIN nothing of Dull; TWIN comes when NOISE is searched, and NOISE is not heard again."""
    scene = Scene(tmp_path, hopeless=("Bright",))
    settings = SETTINGS.model_copy(update={"trials": 4, "checkpoints": 1})
    alone = scene.search(settings)
    heard, rows = scene.diary(), scene.trials()
    assert {(winner.system, *winner.studies) for winner in alone.values()} == {("noise", "noise")}
    twin = entry(
        settings.model_copy(update={"trials": 3, "batch_size": 4}), TWIN, hopeless=("Dull",), diary=tmp_path / "twin's"
    )
    entries = [entry(settings, **scene.how), twin]
    both = scene.search(entries=entries)
    assert scene.diary() == heard
    assert scene.trials()[: len(rows)] == rows and {row["system"] for row in scene.trials()[len(rows) :]} == {"twin"}
    assert {name: winner.system for name, winner in both.items()} == {"Dull": "noise", "Bright": "twin"}
    assert both["Dull"].fad == alone["Dull"].fad and both["Bright"].fad < alone["Bright"].fad / 2
    assert {winner.trials for winner in both.values()} == {4 + 3} and {winner.clips for winner in both.values()} == {8}
    for name, winner in both.items():
        losing = [row for row in scene.trials() if row["class"] == name and row["system"] != winner.system]
        assert winner.rivals[-1].fad == min(row["fad"] for row in losing if not row["stopped"])
    assert read_winners(scene.out, CLASSES) == both
    assert scene.search(settings) == alone, "and without TWIN its studies count no more"


def test_systems_on_unequal_terms_are_refused(tmp_path):
    scene = Scene(tmp_path)
    with pytest.raises(UserError, match=r"search.clips is 8 for noise and 16 for twin, so their distances do not compare"):
        scene.search(entries=[entry(SETTINGS), entry(SETTINGS.model_copy(update={"clips": 16}), TWIN)])
    assert not scene.out.exists()


@pytest.mark.ray
def test_a_mistake_that_only_a_worker_sees_comes_back_as_a_sentence(tmp_path, ray_session):
    scene = Scene(tmp_path)
    for checkpoint in scene.checkpoints["noise"]["noise"]:
        (checkpoint.path / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"^[^\n]*weights.safetensors is missing; the checkpoint is incomplete[^\n]*$"):
        scene.search(SETTINGS.model_copy(update={"concurrent": 1}))
    with pytest.raises(UserError, match=r"search.gpus_per_trial is 64, but this machine has \d"):
        scene.search(SETTINGS.model_copy(update={"gpus_per_trial": 64.0}))


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_search_of_two_systems_goes_on_and_repeats_no_finished_trial(tmp_path):
    """The driver gets a SIGKILL in the trials of the first system, then in those of the second, and is asked again."""
    write_store(tmp_path / "store")
    for system in (SYSTEM, TWIN):
        trained(tmp_path / "train", system=system)
    done = [kill_in_the_middle(tmp_path, least) for least in (3, 8 + 3)]
    assert 3 <= done[0] < 8 and 11 <= done[1] < 16
    assert not list(tmp_path.glob("search/*/result.json"))
    assert start_driver(tmp_path).wait(timeout=240) == 0
    rows = [json.loads(line) for line in (tmp_path / "search" / "trials.jsonl").read_text().splitlines()]
    assert Counter((row["system"], row["class"]) for row in rows) == dict.fromkeys(product(RUNS, CLASSES.names), 4)
    assert finished(tmp_path) == 16
    assert set(read_winners(tmp_path / "search", CLASSES)) == set(CLASSES.names)
    said = (tmp_path / "said").read_text()
    assert f"the search of noise goes on: {done[0]} of 8 trials were done" in said
    assert "noise is searched already" in said and f"the search of twin goes on: {done[1] - 8} of 8 trials were done" in said


def kill_in_the_middle(folder, least):
    """Kills a search that has finished so many trials; how many it had in the end."""
    driver = start_driver(folder)
    wait_for(lambda: finished(folder) >= least, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    return finished(folder)


def start_driver(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "tests.search.drive_noise", str(folder)], cwd=ROOT, env=environment)


def finished(folder):
    """Trials told as complete or pruned, in the words of Optuna's journals (op code 6 sets a trial's state)."""
    texts = [journal.read_text() for journal in folder.glob("search/studies/*/journal.log")]
    lines = (json.loads(line) for text in texts for line in text.splitlines() if line.endswith("}"))
    return sum(line["op_code"] == 6 and line["state"] in (1, 2) for line in lines)


def wait_for(condition, driver, seconds=180):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert driver.poll() is None, f"the driver ended with {driver.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_too_few_reference_clips_are_refused(tmp_path):
    scene = Scene(tmp_path)
    scene.store.counts["reference"]["Dull"] = 1
    with pytest.raises(UserError, match=r"'reference' of .* has fewer than 2 clips of Dull"):
        scene.search()


def test_mistakes_are_found_before_ray_starts(tmp_path):
    scene = Scene(tmp_path)
    with pytest.raises(UserError, match=r"unknown embedder 'logmell' \(did you mean 'logmel'\?\)"):
        scene.search(SearchConfig(embedder="logmell"))
    del scene.checkpoints["twin"]
    with pytest.raises(UserError, match="stage base of twin has no checkpoint beyond step 0"):
        scene.search(entries=[entry(SETTINGS), entry(SETTINGS, TWIN)])
    scene.checkpoints["noise"] = trained(tmp_path / "other", ClassList(names=("Dull", "Shrill")))
    with pytest.raises(UserError, match="but the store has"):
        scene.search()
    assert not (tmp_path / "search").exists()
