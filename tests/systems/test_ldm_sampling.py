"""The latent diffusion as a whole: from classes and sentences to clips, and one training of all its stages."""

from pathlib import Path

import pytest
import torch

from foleyray import checkpoint
from foleyray.checkpoint import Checkpoint
from foleyray.clips import MelSpec
from foleyray.config import UserError
from foleyray.corpus.store import open_store
from foleyray.generation import consecutive, open_generator
from foleyray.system import Prompted, load_sampler, read_config
from foleyray.train.run import train
from tests.corpus.recordings import CLIP, MEL, make_store, write_corpus
from tests.ensembles import SMALLER_WORDS, WORDS, write_untrained
from tests.train.toy import Said

FRONT = MelSpec(sample_rate_hz=16_000, fft=1024, hop=160, window=1024, bands=64, high_hz=8_000)
SAMPLED = ("clap", "vae", "ldm_finetune")
CPU = torch.device("cpu")


def opened(folder, *overrides):
    steps = write_untrained(folder, config_file=WORDS, overrides=[*SMALLER_WORDS, *overrides])
    return load_sampler(steps, CPU)


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    return opened(tmp_path_factory.mktemp("run"), "vae.scale={}")


def quick(sampler, **changes):
    return sampler.params(**({"steps": 5} | changes))


def sound(sampler, labels, params, seeds, prompts=None):
    return sampler.sample(torch.tensor(labels), params, seeds, prompts)


@pytest.mark.parametrize("front", [None, FRONT], ids=["22k80", "16k64"])
def test_both_front_ends_make_whole_clips(front, tmp_path):
    sampler = opened(tmp_path, *([f"front={front.model_dump()}"] if front else []))
    assert sampler.grid == ((2, 50, 8) if front else (2, 43, 10))
    wave = sound(sampler, [0, 6], [quick(sampler)] * 2, [1, 2])
    assert wave.shape == (2, 88_200) and wave.dtype == torch.float32
    assert wave.abs().amax(dim=1).min() > 0 and wave.abs().max() <= 1
    if front:
        power = torch.fft.rfft(wave).abs().square().mean(dim=0)
        assert power[4 * 8_500 :].sum() < 0.02 * power.sum(), "but for what is clipped, nothing sounds above half of 16 kHz"


def test_a_clip_has_the_same_bits_alone_in_company_and_in_another_order(sampler):
    labels, seeds, prompts = [2, 0, 2, 6, 2], [3, 11, 5, 2**62, 0], [None, "rain", "dog", None, None]
    params = [quick(sampler, guidance=value) for value in (1.0, 2.5, 6.0, 1.0, 2.5)]
    together = sound(sampler, labels, params, seeds, prompts)
    backwards = sound(sampler, labels[::-1], params[::-1], seeds[::-1], prompts[::-1]).flip(0)
    alone = [sound(sampler, [labels[at]], [params[at]], [seeds[at]], [prompts[at]]) for at in range(5)]
    assert torch.equal(together, torch.cat(alone)) and torch.equal(together, backwards)


@pytest.mark.parametrize("solver", ["dpm", "ddim"])
def test_every_parameter_is_heard(sampler, solver):
    base = quick(sampler, solver=solver)
    first = sound(sampler, [1], [base], [4])
    for change in ({"guidance": 1.0}, {"noise_scale": 0.8}, {"steps": 6}, {"texture": 1.0}):
        assert not torch.equal(sound(sampler, [1], [base.model_copy(update=change)], [4]), first), change
    calmer = sound(sampler, [1], [base.model_copy(update={"eta": 0.0})], [4])
    assert torch.equal(calmer, first) is (solver == "dpm")


def test_a_prompt_takes_the_place_of_the_class_and_its_own_sentence_changes_nothing(sampler):
    assert isinstance(sampler, Prompted)
    params, own = [quick(sampler)], sampler.clap.prompts["Rain"]
    of_class = sound(sampler, [5], params, [1])
    assert torch.equal(sound(sampler, [5], params, [1], [own]), of_class)
    assert torch.equal(sound(sampler, [0], params, [1], [own]), of_class), "one tuning layer for all classes"
    assert not torch.equal(sound(sampler, [5], params, [1], ["dog bark"]), of_class)
    with pytest.raises(UserError, match="qwertz"):
        sound(sampler, [5], params, [1], ["qwertz"])


def test_targets_are_the_tuned_vectors_at_unit_length(sampler):
    labels, prompts = torch.tensor([5, 5, 0]), [None, "dog bark", "dog bark"]
    targets = sampler.targets(labels, prompts)
    assert targets.shape == (3, 16) and torch.allclose(targets.norm(dim=1), torch.ones(3))
    text = sampler.clap.embed_text(["dog bark"])
    layer = sampler.condition.tuning
    tuned = torch.nn.functional.normalize(text @ layer.weight[0].T + layer.bias[0], dim=1)
    assert torch.allclose(targets[1:], tuned.expand(2, -1), atol=1e-6) and not torch.allclose(targets[1:2], text, atol=1e-4)
    assert sampler.targets(torch.zeros(0, dtype=torch.long), []).shape == (0, 16)


def test_a_layer_per_class_tunes_a_prompt_by_its_class(tmp_path):
    sampler = opened(tmp_path, "tuning.per_class=true")
    targets = sampler.targets(torch.tensor([0, 1]), ["rain", "rain"])
    assert not torch.allclose(targets[0], targets[1], atol=1e-4)


def test_plain_text_is_not_tuned(tmp_path):
    sampler = opened(tmp_path, "condition=text")
    assert torch.allclose(sampler.targets(torch.tensor([0]), ["rain"]), sampler.clap.embed_text(["rain"]), atol=1e-6)


def test_labels_take_no_prompts_and_need_no_clap(tmp_path):
    overrides = [*SMALLER_WORDS, "condition=label"]
    system, config = read_config(WORDS, overrides)
    assert system.samples_from(config) == ("vae", "ldm_finetune") and not system.takes_prompts(config)
    assert system.takes_prompts(read_config(WORDS, SMALLER_WORDS)[1])
    steps = write_untrained(tmp_path, config_file=WORDS, overrides=overrides)
    sampler = load_sampler({name: steps[name] for name in ("vae", "ldm_finetune")}, CPU)
    assert not isinstance(sampler, Prompted)
    one, other = sampler.sample(torch.tensor([0, 1]), [quick(sampler)] * 2, [1, 1])
    assert one.shape == (88_200,) and not torch.equal(one, other)


def test_no_clips_are_no_clips(sampler):
    assert sampler.sample(torch.zeros(0, dtype=torch.long), [], []).shape == (0, 88_200)


def test_the_sampler_takes_the_averaged_weights(tmp_path):
    steps = write_untrained(tmp_path / "run", config_file=WORDS, overrides=SMALLER_WORDS)
    diffusion = steps["ldm_finetune"]
    averaged = diffusion.weights()
    raw = {key: value + 1.0 for key, value in averaged.items()}
    saved = checkpoint.save(tmp_path / "again", diffusion.card, averaged, raw, {})
    sampler = load_sampler(steps | {"ldm_finetune": saved}, CPU)
    assert torch.equal(sampler.denoiser.net.conv_in.weight, averaged["denoiser.net.conv_in.weight"])
    assert torch.equal(saved.weights(averaged=False)["denoiser.net.conv_in.weight"], raw["denoiser.net.conv_in.weight"])


def test_a_checkpoint_of_another_layout_is_refused(tmp_path):
    steps = write_untrained(tmp_path, config_file=WORDS, overrides=SMALLER_WORDS)
    card = steps["ldm_finetune"].card
    wider = card.config | {"denoiser": card.config["denoiser"] | {"widths": [8, 16]}}
    other = Checkpoint(steps["ldm_finetune"].path, card.model_copy(update={"config": wider}))
    with pytest.raises(UserError, match="does not fit the nets of stage ldm_finetune"):
        load_sampler(steps | {"ldm_finetune": other}, CPU)


SHORT = (
    f"clip={CLIP.model_dump()}",
    f"mel={MEL.model_dump()}",
    "pretrained=true",
    *(
        f"training.{stage}={{steps: 4, batch_size: 4, checkpoint_every: 2, average: 0.5}}"
        for stage in ("clap", "vae", "ldm_pretrain", "ldm_finetune")
    ),
)


@pytest.mark.slow
def test_one_training_of_all_stages_sounds_and_its_variants_share_what_comes_before(tmp_path):
    store = make_store(write_corpus(tmp_path / "wav", {"Rain": 8, "Hail": 8}), tmp_path / "store")

    def trained(*overrides):
        system, config = read_config(WORDS, [*SMALLER_WORDS, *SHORT, *overrides])
        said = Said()
        return train(system, config, open_store(store.path), tmp_path / "run", workers=0, progress=said), said.sentences

    found, _ = trained()
    diffusion = found["ldm_finetune"][-1]
    assert list(found) == ["clap", "vae", "ldm_pretrain", "ldm_finetune"]
    assert all([step.card.step for step in steps] == [0, 2, 4] for steps in found.values())
    assert diffusion.card.needs == {stage: found[stage][-1].id for stage in ("vae", "clap", "ldm_pretrain")}
    assert diffusion.card.sounds_with == {stage: found[stage][-1].id for stage in ("clap", "vae")}
    assert found["vae"][-1].card.system is None and found["ldm_pretrain"][-1].card.system is None
    begun, pretrained = found["ldm_finetune"][0].weights(), found["ldm_pretrain"][-1]
    assert all(torch.equal(begun[key], value) for key, value in pretrained.weights().items() if key.startswith("denoiser."))
    assert any(not torch.equal(begun[key], value) for key, value in pretrained.weights(averaged=False).items() if key in begun)
    (joined,) = (tmp_path / "run" / "clap-latents").iterdir()
    assert open_store(joined).columns == ("id", "label", "clap", "latents")
    assert open_store(joined).read("train", ["latents"])["latents"].shape[1:] == (2, 8, 2)
    (sounded,) = open_generator(diffusion.path).generate(consecutive(1, 7, 1))
    assert sounded.wave.shape == (CLIP.num_samples,) and sounded.recipe.checkpoints.keys() == set(SAMPLED)

    for variant in ("condition=label", "condition=text"):
        again, said = trained(variant)
        assert [sentence.split()[0] for sentence in said] == ["clap", "vae", "ldm_pretrain"], "each is trained already"
        assert again["ldm_finetune"][-1].card.run != diffusion.card.run
    scratch, _ = trained("pretrained=false")
    assert list(scratch) == list(SAMPLED) and "ldm_pretrain" not in scratch["ldm_finetune"][-1].card.needs


def test_every_shipped_config_is_read():
    for file in Path("configs/systems/ldm").rglob("*.yaml"):
        read_config(file)
