"""The anchors themselves: who is measured against whom, on which seeds, and whether the figures can be told apart."""

import json

import numpy as np
import pytest
import torch

from foleyray.clips import ClipSpec
from foleyray.config import UserError
from foleyray.corpus.store import open_store
from foleyray.ensemble import Ensemble, Member
from foleyray.generation import EnsembleSampler, Roster
from foleyray.metrics.embedder import find
from foleyray.progress import Quiet
from foleyray.report.anchors import fresh_seed, measure_anchors, untrained_sampler
from foleyray.report.scores import Anchors
from foleyray.sampling import SamplingParams
from foleyray.search.config import SearchConfig
from foleyray.system import find as find_system
from tests.report.conftest import CLASSES, CLIPS

SEED = 5_000


class Parrot:
    """A sampler that plays training clips of the class, chosen by seed, as a generator without any idea of its own would."""

    classes = CLASSES

    def __init__(self, store):
        self.clip: ClipSpec = store.clip
        self.params: type[SamplingParams] = find_system("contrastive_gan").params
        self.known = [store.read("train", ["wave"], label=label)["wave"] for label in range(len(CLASSES.names))]
        self.seeds: list[int] = []

    def sample(self, labels, params, seeds):
        self.seeds += seeds
        clips = [self.known[int(label)][seed % CLIPS["train"]] for label, seed in zip(labels, seeds, strict=True)]
        return torch.from_numpy(np.stack(clips).astype(np.float32) / 32768)


@pytest.fixture(scope="module")
def store(bare_run):
    return open_store(bare_run / "corpus")


@pytest.fixture(scope="module")
def parrot(store) -> EnsembleSampler:
    member = Member(system="contrastive_gan", checkpoints={"gan": "nowhere"})
    ensemble = Ensemble(clip=store.clip, class_list=CLASSES, classes=dict.fromkeys(CLASSES.names, (member,)))
    roster = Roster(ensemble)
    return EnsembleSampler(roster, {roster.parts["Hum"][0].combination: Parrot(store)})


@pytest.fixture(scope="module")
def anchors(parrot, store) -> Anchors:
    embedder = find("logmel", None, "cpu")
    return measure_anchors(parrot, None, store, embedder, clips=5, seed=SEED, progress=Quiet())


def test_everything_is_measured_against_held_out_clips(anchors, parrot):
    assert list(anchors.classes) == list(CLASSES.names)
    for row in anchors.classes.values():
        counts = {kind: getattr(row, kind).num_clips for kind in ("generated", "real", "noise")}
        assert counts == {"generated": 5, "real": CLIPS["reference"], "noise": 5} and row.untrained is None
        assert {row.generated.num_reference_clips, row.real.num_reference_clips} == {CLIPS["held_out"]}
        assert row.generated.embedder == row.noise.embedder == "logmel"
    (sampler,) = parrot.samplers.values()
    assert sorted(set(sampler.seeds)) == list(range(SEED, SEED + 5))


def test_training_clips_are_near_their_class_and_are_found_out(anchors):
    """Real clips of a class as generated ones: nearer than the other class and noise, and no distance from the training."""
    for row in anchors.classes.values():
        assert row.is_nearer_than_others and row.generated.is_nearest
    hum = anchors.classes["Hum"]
    assert hum.generated.fad < hum.noise.fad and hum.real.fad < hum.noise.fad
    for row in anchors.classes.values():
        near = row.nearest_train
        assert near.generated < 1e-6 < near.held_out and near.ratio < 0.01 and near.num_train_clips == CLIPS["train"]


def test_means_and_verdict(anchors):
    fads = [row.generated.fad for row in anchors.classes.values()]
    assert anchors.mean("generated") == pytest.approx(np.mean(fads)) and anchors.mean("untrained") is None
    assert anchors.num_nearer == 2
    others = [fad for row in anchors.classes.values() for fad in row.generated.other_fads.values()]
    assert len(others) == 2 and anchors.mean_of_others == pytest.approx(np.mean(others))


def test_scores_come_back_from_the_file(anchors, tmp_path):
    anchors.save(tmp_path / "scores.json")
    assert Anchors.load(tmp_path / "scores.json").identity == anchors.identity
    document = json.loads((tmp_path / "scores.json").read_text())
    assert {"fad", "interval", "num_clips", "embedder", "recipe"} <= document["classes"]["Hum"]["generated"].keys()


def test_seeds_are_fresh():
    settings = SearchConfig(seed=3)
    taken = {*settings.clip_seeds("search"), *settings.clip_seeds("promotion")}
    assert not taken & set(range(fresh_seed(settings), fresh_seed(settings) + settings.promote_clips))


def test_the_untrained_generator_is_step_0_of_the_same_stages(whole_run):
    ensemble, cpu = Ensemble.load(whole_run), torch.device("cpu")
    untrained = untrained_sampler(ensemble, whole_run, whole_run / "train", cpu)
    assert untrained is not None
    (path,) = untrained.roster.ensemble.classes["Hum"][0].checkpoints.values()
    assert path.endswith("step-000000000") and (whole_run / "train" / path).is_dir()
    assert untrained_sampler(ensemble, whole_run, whole_run / "elsewhere", cpu) is None


def test_a_class_without_clips_is_named(parrot, store, monkeypatch):
    monkeypatch.setitem(store.counts["held_out"], "Hiss", 0)
    with pytest.raises(UserError, match="Hiss has no clip in the split held_out"):
        measure_anchors(parrot, None, store, find("logmel", None, "cpu"), clips=3, seed=0, progress=Quiet())
