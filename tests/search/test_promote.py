"""Winners measured again and put into an ensemble, in this process."""

import filecmp
import sys
from types import ModuleType

import pytest
import torch

from foleyray import system
from foleyray.checkpoint import load
from foleyray.config import UserError
from foleyray.ensemble import Ensemble
from foleyray.generation import EnsembleSampler, Request
from foleyray.progress import Quiet
from foleyray.search.config import SearchConfig
from foleyray.search.promote import promote
from foleyray.search.results import Winner, write_winner
from foleyray.tables import print_ensemble
from tests.search.toy_noise import CLASSES, RUNS, SYSTEM, TWIN, entry, noise, trained, write_store

SETTINGS = SearchConfig(concurrent=1, promote_clips=8)


def contender(step, tilt, fad, system=SYSTEM):
    run = RUNS[system.name]
    return {
        "system": system.name,
        "checkpoints": {"base": f"base/{run}/step-000000030", "noise": f"noise/{run}/step-0000000{step}"},
        "params": {"tilt": tilt, "repeats": 1, "polarity": "up"},
        "fad": fad,
        "trial": 3,
    }


class Scene:
    """Trained runs, a store, and the winners of a search: newest checkpoint for one class, the one before for the other."""

    def __init__(self, folder, counts=None):
        self.folder, self.out, self.searched = folder, folder / "out", folder / "search"
        self.checkpoints = {system.name: trained(folder / "train", system=system) for system in (SYSTEM, TWIN)}
        self.store = write_store(folder / "store", counts)
        self.out.mkdir()
        self.win("Dull", 30, 1.4)
        self.win("Bright", 20, 0.2)

    def win(self, name, step, tilt, system=SYSTEM, studies=None, rivals=()):
        """`rivals`: step, tilt and search value of each, and its system where that is not SYSTEM."""
        winner = Winner(
            **contender(step, tilt, 1.25, system),
            studies=studies or {"noise": "5eed5eed"},
            embedder="logmel:active",
            class_name=name,
            clips=8,
            trials=6,
            rivals=tuple(contender(*rival) for rival in rivals),
        )
        write_winner(self.searched, winner)

    def promote(self, settings=SETTINGS, systems=(SYSTEM,), **how):
        entries = [entry(settings, system, **({"diary": self.folder / f"diary-{system.name}"} | how)) for system in systems]
        return promote(entries, self.checkpoints, self.store, self.searched, self.out, progress=Quiet())

    def num_clips_made(self, system=SYSTEM):
        diary = self.folder / f"diary-{system.name}"
        return sum(" clip " in line for line in diary.read_text().splitlines()) if diary.exists() else 0

    def copies(self):
        return sorted(str(path.parent.relative_to(self.out)) for path in self.out.glob("checkpoints/*/*/*/card.json"))


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_members_carry_evidence_on_fresh_seeds(scene):
    ensemble = scene.promote()
    assert Ensemble.load(scene.out) == ensemble
    assert list(ensemble.classes) == list(CLASSES.names)
    (member,) = ensemble.classes["Dull"]
    assert (member.system, member.share, member.params["tilt"]) == ("noise", 1.0, 1.4)
    proof = member.evidence
    assert (proof.metric, proof.embedder, proof.recipe, proof.reference) == ("fad", "logmel", "active", "held_out")
    assert (proof.num_clips, proof.num_reference_clips, proof.search_value) == (8, 10, 1.25)
    assert proof.interval[0] <= proof.interval[1]
    assert proof.corpus == scene.store.fingerprint
    made = {int(line.split()[-1]) for line in (scene.folder / "diary-noise").read_text().splitlines() if " clip " in line}
    assert made == set(SETTINGS.clip_seeds("promotion"))


def test_the_folder_is_whole_and_holds_no_more_than_it_needs(scene):
    ensemble = scene.promote()
    assert scene.copies() == [
        "checkpoints/base/0a1b2c3d/step-000000030",
        "checkpoints/noise/0a1b2c3d/step-000000020",
        "checkpoints/noise/0a1b2c3d/step-000000030",
    ]
    for member in (member for members in ensemble.classes.values() for member in members):
        for stage, folder in member.checkpoints.items():
            copied = load(scene.out / folder)
            assert copied.card.stage == stage
            assert not (copied.path / "training.pt").exists()
            original = scene.folder / "train" / copied.id
            for name in ("weights.safetensors", "raw.safetensors"):
                assert (copied.path / name).exists() == (original / name).exists()
            assert filecmp.cmp(copied.path / "weights.safetensors", original / "weights.safetensors", shallow=False)


def test_unchanged_winners_are_not_measured_again(scene):
    first = scene.promote()
    before = scene.num_clips_made()
    assert before == 2 * 8
    assert scene.promote() == first
    assert scene.num_clips_made() == before


def test_only_the_changed_winner_is_measured_again(scene):
    first = scene.promote()
    scene.win("Bright", 10, 0.2)
    second = scene.promote()
    assert scene.num_clips_made() == 3 * 8
    assert second.classes["Dull"] == first.classes["Dull"]
    assert "checkpoints/noise/0a1b2c3d/step-000000010" in scene.copies()
    assert "checkpoints/noise/0a1b2c3d/step-000000020" not in scene.copies()


def test_a_runner_up_is_measured_beside_the_winner(scene):
    scene.win("Dull", 30, 1.4, rivals=[(20, 1.4, 1.5)])
    scene.win("Bright", 20, 0.2, rivals=[(20, 1.9, 1.5)])
    ensemble = scene.promote()
    assert scene.num_clips_made() == 4 * 8
    proofs = {name: members[0].evidence for name, members in ensemble.classes.items()}
    assert proofs["Dull"].is_tie and not proofs["Bright"].is_tie
    assert proofs["Bright"].runner_up.value > proofs["Bright"].value and proofs["Bright"].runner_up.search_value == 1.5
    assert Ensemble.load(scene.out) == ensemble
    assert not any("step-000000010" in copy for copy in scene.copies())
    scene.promote()
    assert scene.num_clips_made() == 4 * 8


def test_another_runner_up_is_measured_alone(scene):
    scene.win("Dull", 30, 1.4, rivals=[(20, 1.4, 1.5)])
    first = scene.promote().classes["Dull"][0].evidence
    before = scene.num_clips_made()
    scene.win("Dull", 30, 1.4, rivals=[(10, 1.4, 1.5)])
    second = scene.promote().classes["Dull"][0].evidence
    assert second.runner_up.checkpoints["noise"].endswith("10") and second.value == first.value
    assert scene.num_clips_made() == before + 8


BOTH = {"noise": "5eed5eed", "twin": "7b7b7b7b"}


def test_the_best_point_of_every_system_is_measured(scene):
    """Dull is a win over another system, Bright one over its own runner-up and over the other system behind it."""
    scene.win("Dull", 30, 1.4, studies=BOTH, rivals=[(30, 0.0, 9.0, TWIN)])
    scene.win("Bright", 20, 0.2, TWIN, studies=BOTH, rivals=[(20, 0.2, 1.5, TWIN), (30, 0.2, 1.6)])
    ensemble = scene.promote(systems=(SYSTEM, TWIN))
    assert (scene.num_clips_made(), scene.num_clips_made(TWIN)) == (2 * 8, 3 * 8)
    dull, bright = (ensemble.classes[name][0] for name in CLASSES.names)
    assert (dull.system, bright.system, ensemble.systems) == ("noise", "twin", ("noise", "twin"))
    assert dull.standings["noise"].value == dull.evidence.value < dull.standings["twin"].value
    assert [(each.mark) for each in dull.standings.values()] == ["chosen", "farther"]
    assert [rival.system for rival in bright.evidence.rivals] == ["twin", "noise"] and bright.evidence.is_tie
    assert {system: each.mark for system, each in bright.standings.items()} == {"twin": "chosen", "noise": "tie"}
    assert {copy.split("/")[2] for copy in scene.copies()} == {"0a1b2c3d", "7b7b7b7b"}
    scene.promote(systems=(SYSTEM, TWIN))
    assert (scene.num_clips_made(), scene.num_clips_made(TWIN)) == (2 * 8, 3 * 8)


def test_the_tables_show_who_makes_each_class_and_how_every_system_did(scene, capsys):
    scene.win("Dull", 30, 1.4, studies=BOTH, rivals=[(30, 0.0, 9.0, TWIN)])
    scene.win("Bright", 20, 0.2, TWIN, studies=BOTH)
    dull, bright = (members[0] for members in scene.promote(systems=(SYSTEM, TWIN)).classes.values())
    print_ensemble(scene.out)
    leaders, _, systems = capsys.readouterr().out.partition("every system")
    rows = {name: next(line for line in leaders.splitlines() if name in line) for name in CLASSES.names}
    assert "noise" in rows["Dull"] and "base 30, noise 30" in rows["Dull"] and "of twin" in rows["Dull"]
    assert "twin" in rows["Bright"] and "base 30, noise 20" in rows["Bright"]
    rows = {name: next(line for line in systems.splitlines() if name in line) for name in CLASSES.names}
    assert f"{dull.evidence.value:.2f}" in rows["Dull"] and f"{dull.standings['twin'].value:.2f}" in rows["Dull"]
    assert rows["Dull"].count("*") == rows["Bright"].count("*") == 1 and "no distance" in rows["Bright"]
    assert f"{bright.evidence.value:.2f}" in rows["Bright"] and "tie: its interval overlaps" in systems


def test_one_system_is_compared_with_nobody(scene, capsys):
    scene.promote()
    print_ensemble(scene.out)
    assert "every system" not in capsys.readouterr().out


def test_held_out_clips_choose_nothing(scene):
    """The rival is far nearer to the held-out clips; the search's winner stands, and the table says so."""
    scene.win("Dull", 30, 0.0, studies=BOTH, rivals=[(30, 1.45, 2.0, TWIN)])
    scene.win("Bright", 20, 0.2, studies=BOTH)
    (dull,) = scene.promote(systems=(TWIN, SYSTEM)).classes["Dull"]
    assert dull.system == "noise" and dull.standings["twin"].mark == "nearer"


def test_an_added_system_leaves_what_was_measured(scene):
    first = scene.promote()
    for name, step, tilt in (("Dull", 30, 1.4), ("Bright", 20, 0.2)):
        scene.win(name, step, tilt, studies=BOTH, rivals=[(30, 1.0, 1.5, TWIN)])
    second = scene.promote(systems=(SYSTEM, TWIN))
    assert (scene.num_clips_made(), scene.num_clips_made(TWIN)) == (2 * 8, 2 * 8)
    for name in CLASSES.names:
        assert second.classes[name][0].evidence.model_copy(update={"rivals": ()}) == first.classes[name][0].evidence


def test_the_systems_of_the_search_are_promoted(scene):
    with pytest.raises(UserError, match=r"was among noise, and noise, twin are to be promoted; run `foleyray search` again"):
        scene.promote(systems=(SYSTEM, TWIN))


def test_an_ensemble_of_two_systems_sounds(scene, monkeypatch):
    """Both are found by name, as systems of the package are; each class comes from its own."""
    monkeypatch.setattr(system, "names", lambda: ["noise", "twin"])
    for one in (SYSTEM, TWIN):
        module = ModuleType(one.name)
        module.SYSTEM = one
        monkeypatch.setitem(sys.modules, f"foleyray.systems.{one.name}", module)
    scene.win("Dull", 30, 1.4, studies=BOTH)
    scene.win("Bright", 20, 0.2, TWIN, studies=BOTH)
    scene.promote(systems=(SYSTEM, TWIN))
    generator = EnsembleSampler.load(scene.out)
    assert generator.roster.systems == ("noise", "twin") and len(generator.samplers) == 2
    sounds = generator.generate([Request(0, 5), Request(1, 5)])
    assert [sound.recipe.system for sound in sounds] == ["noise", "twin"]
    dull, bright = (noise(tilt, 5) for tilt in (1.4 + 2 / 30, 0.2 + 1 / 30 + 1 / 20))
    assert torch.allclose(torch.from_numpy(sounds[0].wave), dull, atol=1e-4)
    assert torch.allclose(torch.from_numpy(sounds[1].wave), bright, atol=1e-4)


def test_other_terms_are_other_evidence(scene):
    scene.promote()
    again = scene.promote(SETTINGS.model_copy(update={"promote_clips": 9}))
    assert again.classes["Dull"][0].evidence.num_clips == 9
    assert scene.num_clips_made() == 2 * 8 + 2 * 9


def test_what_was_measured_before_a_crash_is_kept(scene):
    """The search's folder remembers every class that was measured; a torn file is measured anew."""
    first = scene.promote()
    (scene.out / "ensemble.yaml").unlink()
    (scene.searched / "Dull" / "measured.json").write_text("{")
    second = scene.promote()
    assert scene.num_clips_made() == 3 * 8
    assert second.classes["Bright"] == first.classes["Bright"]
    assert second.classes["Dull"][0].evidence.value == first.classes["Dull"][0].evidence.value


def test_a_damaged_ensemble_or_copy_is_mended(scene):
    first = scene.promote()
    (scene.out / "ensemble.yaml").write_text("classes: [")
    (scene.out / "checkpoints/base/0a1b2c3d/step-000000030/weights.safetensors").write_text("cut")
    assert scene.promote().class_list == first.class_list
    assert load(scene.out / "checkpoints/base/0a1b2c3d/step-000000030").weights()


def test_an_unfinished_search_is_refused(scene):
    (scene.searched / "Bright" / "result.json").unlink()
    with pytest.raises(UserError, match="has no result for Bright"):
        scene.promote()
    scene.win("Bright", 10, 0.2, studies={"noise": "0ther000"})
    with pytest.raises(UserError, match="searches with different settings"):
        scene.promote()
    (scene.searched / "Bright" / "result.json").write_text("{}")
    with pytest.raises(UserError, match=r"result.json: .*'system' is missing"):
        scene.promote()
    assert not (scene.out / "ensemble.yaml").exists()


def test_another_embedder_is_refused(scene):
    """The value found by the search stands beside the proven one, so they have to be of one kind."""
    with pytest.raises(UserError, match=r"listened to Dull with logmel:active, and is to be proven with logmel:all; search"):
        scene.promote(SETTINGS.model_copy(update={"embedder": "logmel:all"}))


def test_too_few_held_out_clips_are_refused(tmp_path):
    scene = Scene(tmp_path, {"train": (1, 1), "reference": (2, 2), "held_out": (4, 1)})
    with pytest.raises(UserError, match=r"'held_out' of .* has fewer than 2 clips of Bright"):
        scene.promote()


def test_winners_that_fell_silent_are_refused(scene):
    with pytest.raises(UserError, match=r"Dull|Bright"):
        scene.promote(broken=True)
