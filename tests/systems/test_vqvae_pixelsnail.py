"""The baseline's chain: its sizes, its shapes from codes to clip, one training of all stages, and sentences for mistakes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.corpus.store import open_store
from foleyray.generation import consecutive, open_generator
from foleyray.progress import Quiet
from foleyray.system import load_sampler, names, read_config
from foleyray.train.run import train
from tests.corpus.recordings import make_store, write_corpus
from tests.ensembles import CODES, SMALLER_CODES, write_untrained

FOLDER = "systems/vqvae_pixelsnail"
VOCODER = (
    "vocoder={kind: hifigan, layout: {channels: 32, residual_kernels: [3], dilations: [[1]]}, judge_width: 4}",
    "training.vocoder={steps: 2, batch_size: 2, checkpoint_every: 2, keep: 1}",
)
SHORT = tuple(f"training.{stage}={{steps: 4, batch_size: 2, checkpoint_every: 2}}" for stage in ("tokenizer", "prior"))


@pytest.fixture(scope="module", params=[(), VOCODER], ids=["griffin_lim", "hifigan"])
def steps(request, tmp_path_factory):
    """Untrained checkpoints of every stage."""
    run = tmp_path_factory.mktemp("run")
    return write_untrained(run, config_file=CODES, overrides=[*SMALLER_CODES, *request.param])


@pytest.mark.parametrize(("config", "tokenizer"), [("baseline", 2_207_297), ("cmu_b", 2_207_297 + 455)])
def test_the_papers_sizes(config, tokenizer):
    system, settings = read_config(f"{FOLDER}/{config}/paper.yaml")
    assert settings.grid == (20, 86)
    stages = {stage.name: stage for stage in system.stages(settings, DCASE7)}
    assert list(stages) == ["vocoder", "tokenizer", "prior"] and system.samples_from(settings) == tuple(stages)
    assert num_parameters(stages["tokenizer"].build({})) == tokenizer
    assert num_parameters(stages["prior"].build({})) == 96_823_032


def num_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_from_codes_to_a_whole_clip(steps):
    sampler = load_sampler(steps, torch.device("cpu"))
    codes = sampler.rows.sample(torch.tensor([0, 6]), [1.0, 1.0], [16, 16], [1.0, 1.0], [5, 6])
    assert codes.shape == (2, 10, 43) and codes.dtype == torch.int64 and codes.min() >= 0 and codes.max() < 16
    assert sampler.tokenizer.decode(codes).shape == (2, 80, 344)
    wave = sampler.sample(torch.tensor([0, 6]), [sampler.params()] * 2, [5, 6])
    assert wave.shape == (2, 88_200)
    assert wave.abs().amax(dim=1).min() > 0
    if "vocoder" in steps:
        assert not wave[:, 88_064:].any(), "344 frames of 256 samples end before the clip does"


def test_each_clip_has_its_own_sampling_parameters(steps):
    sampler = load_sampler(steps, torch.device("cpu"))
    free, bound = sampler.params(), sampler.params(temperature=0.7, top_p=0.9, top_k=1)
    together = sampler.sample(torch.tensor([3, 3]), [free, bound], [1, 1])
    for number, params in enumerate((free, bound)):
        assert torch.equal(together[number], sampler.sample(torch.tensor([3]), [params], [1])[0])
    assert not torch.equal(*together)


@pytest.mark.slow
def test_one_training_of_all_stages_sounds(tmp_path):
    config = read_config(CODES)[1]
    store = make_store(
        write_corpus(tmp_path / "wav", {"Rain": 8, "Hail": 8}), tmp_path / "store", clip=config.clip, mel=config.mel
    )
    system, settings = read_config(CODES, [*SMALLER_CODES, *VOCODER, *SHORT])
    found = train(system, settings, open_store(store.path), tmp_path / "run", workers=0, progress=Quiet())
    assert {stage: [step.card.step for step in saved] for stage, saved in found.items()} == {
        "vocoder": [0, 2],
        "tokenizer": [0, 2, 4],
        "prior": [0, 2, 4],
    }
    prior = found["prior"][-1]
    assert prior.card.needs == {"tokenizer": found["tokenizer"][-1].id}
    assert prior.card.sounds_with == {stage: found[stage][-1].id for stage in ("vocoder", "tokenizer")}
    assert {"validation/loss", "validation/accuracy"} <= set(prior.card.scores)
    assert {"validation/mse", "validation/perplexity", "validation/class"} <= set(found["tokenizer"][-1].card.scores)
    generator = open_generator(prior.path)
    (sound,) = generator.generate(consecutive(1, 7, 1))
    assert sound.wave.shape == (88_200,) and abs(sound.wave).max() > 0
    assert sound.recipe.checkpoints.keys() == {"vocoder", "tokenizer", "prior"}
    with pytest.raises(UserError, match=r"stage 'tokenizer', which makes no sound by itself"):
        open_generator(found["tokenizer"][-1].path)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["tokenizer.halvings=4"], r"344 frames cannot be halved 4 times"),
        (["vocoder.kind=hifigan"], r"training must have the stages \['prior', 'tokenizer', 'vocoder'\]"),
        (["prior.network.kernel=[4, 5]"], "odd"),
        (["sampling_precision=float16"], "sampling_precision"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        read_config(CODES, overrides)


def test_every_shipped_config_is_read():
    assert "vqvae_pixelsnail" in names()
    for file in Path("configs/systems/vqvae_pixelsnail").rglob("*.yaml"):
        read_config(file)
