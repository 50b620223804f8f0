"""Winners measured again and put into an ensemble, in this process."""

import filecmp

import pytest

from foleyray.checkpoint import load
from foleyray.config import UserError
from foleyray.ensemble import Ensemble
from foleyray.progress import Quiet
from foleyray.search.config import SearchConfig
from foleyray.search.promote import promote
from foleyray.search.results import Winner, write_winner
from tests.search.toy_noise import CLASSES, SYSTEM, config, trained, write_store

SETTINGS = SearchConfig(concurrent=1, promote_clips=8)


def contender(step, tilt, fad):
    return {
        "checkpoints": {"base": "base/0a1b2c3d/step-000000030", "noise": f"noise/0a1b2c3d/step-0000000{step}"},
        "params": {"tilt": tilt, "repeats": 1, "polarity": "up"},
        "fad": fad,
        "trial": 3,
    }


class Scene:
    """A trained run, a store, and the winners of a search: newest checkpoint for one class, the one before for the other."""

    def __init__(self, folder, counts=None):
        self.folder, self.out, self.searched = folder, folder / "out", folder / "search"
        self.checkpoints, self.store = trained(folder / "train"), write_store(folder / "store", counts)
        self.out.mkdir()
        self.win("Dull", 30, 1.4)
        self.win("Bright", 20, 0.2)

    def win(self, name, step, tilt, study="5eed5eed", rival=None):
        """`rival`: the step and tilt of a runner-up."""
        winner = Winner(
            **contender(step, tilt, fad=1.25),
            system="noise",
            study=study,
            embedder="logmel:active",
            class_name=name,
            clips=8,
            trials=6,
            runner_up=contender(*rival, fad=1.5) if rival else None,
        )
        write_winner(self.searched, winner)

    def promote(self, settings=SETTINGS, **how):
        how.setdefault("diary", self.folder / "diary")
        return promote(SYSTEM, config(**how), settings, self.store, self.checkpoints, self.searched, self.out, progress=Quiet())

    def num_clips_made(self):
        diary = self.folder / "diary"
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
    made = {int(line.split()[-1]) for line in (scene.folder / "diary").read_text().splitlines() if " clip " in line}
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
    scene.win("Dull", 30, 1.4, rival=(20, 1.4))
    scene.win("Bright", 20, 0.2, rival=(20, 1.9))
    ensemble = scene.promote()
    assert scene.num_clips_made() == 4 * 8
    proofs = {name: members[0].evidence for name, members in ensemble.classes.items()}
    assert proofs["Dull"].is_tie and not proofs["Bright"].is_tie
    assert proofs["Bright"].runner_up.value > proofs["Bright"].value and proofs["Bright"].runner_up.search_value == 1.5
    assert Ensemble.load(scene.out) == ensemble
    assert not any("step-000000010" in copy for copy in scene.copies())
    scene.promote()
    assert scene.num_clips_made() == 4 * 8


def test_another_runner_up_is_measured_again(scene):
    scene.win("Dull", 30, 1.4, rival=(20, 1.4))
    scene.promote()
    before = scene.num_clips_made()
    scene.win("Dull", 30, 1.4, rival=(10, 1.4))
    assert scene.promote().classes["Dull"][0].evidence.runner_up.checkpoints["noise"].endswith("10")
    assert scene.num_clips_made() == before + 2 * 8


def test_other_terms_are_other_evidence(scene):
    scene.promote()
    again = scene.promote(SETTINGS.model_copy(update={"promote_clips": 9}))
    assert again.classes["Dull"][0].evidence.num_clips == 9
    assert scene.num_clips_made() == 2 * 8 + 2 * 9


def test_what_was_measured_before_a_crash_is_kept(scene):
    """The search's folder remembers every class that was measured; a torn file is measured anew."""
    first = scene.promote()
    (scene.out / "ensemble.yaml").unlink()
    (scene.searched / "Dull" / "member.json").write_text("{")
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
    scene.win("Bright", 10, 0.2, study="0ther000")
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
