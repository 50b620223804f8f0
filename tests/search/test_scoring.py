"""What scores candidates, and against what."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from foleyray.config import UserError
from foleyray.modules.clap import open_clap
from foleyray.search.config import ChoosingConfig, SearchConfig
from foleyray.search.scoring import cosines, find_by_id, find_scorer, scorer_of, target_of
from tests.search.toy_clap import write_clap
from tests.search.toy_noise import CLASSES, NoiseSampler, config, noise, trained

SETTINGS = SearchConfig(choosing=ChoosingConfig())


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    return write_clap(tmp_path_factory.mktemp("clap"))


@dataclass
class Told(NoiseSampler):
    """The noise, told in words what to make."""

    def sample(self, labels, params, seeds, prompts=None):
        return super().sample(labels, params, seeds)

    def targets(self, labels, prompts):
        assert list(prompts) == [None] * len(labels)
        return torch.eye(8)[labels + 3]


def test_sounds_are_scored_against_what_they_are_made_after(clap):
    """A sampler that is told in words says itself what it aims at; of any other class it is the class's sentence."""
    opened = open_clap(clap, torch.device("cpu"))
    assert target_of(Told(config(), 0.0), opened, 1).tolist() == np.eye(8)[4].tolist()
    plain = target_of(NoiseSampler(config(), 0.0), opened, 1)
    assert plain.tolist() == opened.embed_text(["a bright hiss"])[0].tolist()


def test_the_scorer_of_these_tests_knows_the_classes(clap):
    opened = open_clap(clap, torch.device("cpu"))
    heard = opened.embed_audio(torch.stack([noise(tilt, seed) for seed in range(8) for tilt in (1.5, 0.3)]), 8_000)
    told = opened.embed_text([opened.prompts[name] for name in CLASSES.names])
    assert cosines(heard.numpy(), told.numpy()).argmax(axis=1).tolist() == [0, 1] * 8


def test_the_first_config_with_a_trained_scorer_brings_it(clap, tmp_path):
    other = write_clap(tmp_path, run_id="0the0the")
    own = trained(tmp_path / "train")
    found = {"noise": own, "twin": {**own, "clap": [clap]}, "third": {**own, "clap": [other]}}
    assert find_scorer(["noise", "twin", "third"], found, SETTINGS).id == clap.id
    assert find_scorer(["third", "twin"], found, SETTINGS).id == other.id
    assert find_scorer(["noise", "twin"], found, SearchConfig()) is None, "where nothing is chosen nothing is scored"
    assert find_by_id(other.id, found).id == other.id
    untrained = {"noise": {"clap": [type(clap)(clap.path, clap.card.model_copy(update={"step": 0}))]}}
    with pytest.raises(UserError, match="none of noise has one"):
        find_scorer(["noise"], untrained, SETTINGS)
    with pytest.raises(UserError, match="which is no longer there; search again"):
        find_by_id("clap/00000000/step-000000001", found)


def test_a_system_that_reads_words_is_scored_by_its_own_tower(clap, tmp_path):
    other = write_clap(tmp_path, run_id="0the0the")
    assert scorer_of({"prior": clap, "clap": other}, clap) is other
    assert scorer_of({"prior": clap}, clap) is clap
