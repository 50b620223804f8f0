"""AudioLDM as diffusers saves it: nets equal to the originals, a chain equal to diffusers' own, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.deprecated.audioldm import AudioLDMPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from foleyray import system
from foleyray.config import UserError
from foleyray.modules.speecht5_vocoder import load_published
from foleyray.modules.vocoder import NeuralVocoder, SpeechT5Settings
from foleyray.systems.ldm.config import Config
from foleyray.systems.ldm.denoiser import Denoiser, DenoiserSettings
from foleyray.systems.ldm.diffusion import SCHEDULE, denoised, guided, scheduler
from foleyray.systems.ldm.public_audioldm import check_schedule, check_text, load_denoiser, load_vae
from foleyray.systems.ldm.vae import MelVae, VaeSettings
from foleyray.train.run import train
from tests.modules.speecht5 import LAYOUT
from tests.systems import audioldm
from tests.train import toy

DENOISER = DenoiserSettings(widths=(16, 32), blocks=1, attention=(False, True), heads=8, groups=8, condition_width=audioldm.DIM)
VAE = VaeSettings(widths=(8, 16, 16), blocks=1, groups=8, latent_channels=4)
TEXTS = ["a dog bark", "rain", ""]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[AudioLDMPipeline, Path]:
    folder = tmp_path_factory.mktemp("audioldm")
    return audioldm.pipeline(folder), folder


@pytest.fixture
def folder(saved: tuple[AudioLDMPipeline, Path], tmp_path: Path) -> Path:
    """One to be spoilt."""
    return Path(shutil.copytree(saved[1], tmp_path / "audioldm"))


def _latents(count: int = 2) -> Tensor:
    return torch.randn(count, 4, 8, 4, generator=torch.Generator().manual_seed(1))


def _rewrite(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _vae(folder: Path, **changes: Any) -> tuple[MelVae, float]:
    vae = MelVae(VAE.model_copy(update=changes), audioldm.MEL.bands, 32)
    return vae, load_vae(str(folder), vae.net)


def _denoiser(folder: Path, **changes: Any) -> Denoiser:
    denoiser = Denoiser(DENOISER.model_copy(update=changes), 4)
    load_denoiser(str(folder), denoiser.net)
    return denoiser


def _same(found: torch.nn.Module, theirs: torch.nn.Module) -> None:
    """Equal weights, ready to be trained on."""
    assert found.training and all(p.requires_grad for p in found.parameters())
    for name, value in theirs.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


# Nets equal to the originals


@torch.no_grad()
def test_the_vae_is_the_original(saved: tuple[AudioLDMPipeline, Path]) -> None:
    pipeline, folder = saved
    vae, scale = _vae(folder)
    _same(vae.net, pipeline.vae)
    assert scale == audioldm.SCALE == pipeline.vae.config.scaling_factor
    mel = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(0))
    expected = pipeline.vae.encode(mel.transpose(1, 2).unsqueeze(1)).latent_dist.mode()
    assert torch.equal(vae.eval().posterior(mel).mode(), expected)
    made = pipeline.vae.decode(_latents()).sample
    assert made.std() > 0.1 and torch.equal(vae.reconstruction(_latents()), made[:, 0].transpose(1, 2))


@torch.no_grad()
def test_the_denoiser_is_the_original(saved: tuple[AudioLDMPipeline, Path]) -> None:
    """A step of the pipeline: class_labels are the vectors of the texts."""
    pipeline, folder = saved
    denoiser = _denoiser(folder)
    _same(denoiser.net, pipeline.unet)
    texts, time = pipeline._encode_prompt(TEXTS[:2], torch.device("cpu"), 1, False), torch.tensor([501, 501])
    expected = pipeline.unet(_latents(), 501, encoder_hidden_states=None, class_labels=texts).sample
    assert expected.std() > 0.1
    assert torch.allclose(denoiser.eval()(_latents(), time, texts), expected, atol=1e-6)
    assert not torch.allclose(denoiser(_latents(), time, texts.flip(0)), expected, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_the_whole_chain_is_diffusers_own(guidance: float, saved: tuple[AudioLDMPipeline, Path]) -> None:
    """Text to wave, by the deprecated pipeline and by our denoiser, solver, VAE and vocoder with the loaded weights."""
    pipeline, folder = saved
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = scheduler("ddim")
    noise, seconds = _latents(), 32 * audioldm.MEL.hop / audioldm.MEL.sample_rate_hz
    expected = pipeline(
        TEXTS[:2],
        audio_length_in_s=seconds,
        num_inference_steps=4,
        guidance_scale=guidance,
        eta=0.0,
        latents=noise,
        output_type="pt",
    ).audios
    assert expected.shape == (2, 2_048) and expected.std() > 0.01

    *told, nothing = pipeline._encode_prompt(TEXTS, torch.device("cpu"), 1, False)
    draws = [torch.Generator(), torch.Generator()]
    predict = guided(_denoiser(folder).eval(), torch.stack(told), nothing, torch.full((2,), guidance))
    latents = denoised(predict, noise, solver="ddim", steps=4, eta=0.0, draws=draws)
    vae, scale = _vae(folder)
    vae.eval().moments[1] = scale**-2
    generator = load_published(SpeechT5Settings(start=str(folder), layout=LAYOUT), audioldm.MEL)
    wave = NeuralVocoder(generator, 2_048)(vae.decode(latents), torch.empty(2, 0))
    assert torch.allclose(wave, expected, atol=1e-5)


def test_pickled_weights_and_old_names_are_read(folder: Path) -> None:
    """As `cvssp/audioldm` lies on the hub: no safetensors, and attention under the names it had in 2023."""
    originals = {part: load_file(folder / part / "diffusion_pytorch_model.safetensors") for part in ("vae", "unet")}
    old = {name.replace("to_out.0", "proj_attn"): value for name, value in originals["vae"].items()}
    for new, name in (("to_q", "query"), ("to_k", "key"), ("to_v", "value")):
        old = {key.replace(new, name): value for key, value in old.items()}
    assert {f"encoder.mid_block.attentions.0.{name}.weight" for name in ("query", "key", "value", "proj_attn")} <= set(old)
    for part, state in (("vae", old), ("unet", originals["unet"])):
        (folder / part / "diffusion_pytorch_model.safetensors").unlink()
        torch.save(state, folder / part / "diffusion_pytorch_model.bin")
    for part, net in (("vae", _vae(folder)[0].net), ("unet", _denoiser(folder).net)):
        assert all(torch.equal(value, originals[part][name]) for name, value in net.state_dict().items())
    torch.save({"conv_in.bias": Path("code that must not run")}, folder / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=r"unet/diffusion_pytorch_model.bin does not read as PyTorch weights: it holds more"):
        _denoiser(folder)


def test_older_configs_say_less(folder: Path) -> None:
    """diffusers 0.15 wrote no 'mid_block_add_attention' and no 'attention_type', and no 'prediction_type' before 0.9."""
    for file, names in (
        ("vae/config.json", ("mid_block_add_attention", "use_quant_conv")),
        ("unet/config.json", ("attention_type", "dropout")),
        ("scheduler/scheduler_config.json", ("prediction_type",)),
    ):
        config = json.loads((folder / file).read_text())
        assert set(names) <= set(config)
        (folder / file).write_text(json.dumps({name: value for name, value in config.items() if name not in names}))
    assert _vae(folder)[1] == audioldm.SCALE
    _denoiser(folder)
    check_schedule(str(folder), SCHEDULE)


# The text


@torch.no_grad()
def test_only_the_clap_that_the_weights_were_made_for_is_accepted(saved: tuple[AudioLDMPipeline, Path]) -> None:
    pipeline, folder = saved
    vectors = pipeline._encode_prompt(TEXTS, torch.device("cpu"), 1, False)
    assert F.cosine_similarity(vectors[:1], vectors[1:]).max() < 0.999, "texts that are told apart"
    check_text(str(folder), TEXTS, vectors)
    with pytest.raises(UserError, match=r"are different models: their vectors of 'rain' have a cosine of -?\d\.\d{4}, above"):
        check_text(str(folder), TEXTS, torch.cat([vectors[:1], -vectors[1:]]))
    with pytest.raises(UserError, match=r"the config's CLAP has vectors of 16 numbers, .* of 24; set clap to the model"):
        check_text(str(folder), TEXTS, vectors[:, :16])


@torch.no_grad()
def test_another_text_tower_of_the_same_size_is_refused(folder: Path) -> None:
    other = audioldm.text_encoder(seed=1)
    tokens = audioldm.tokenizer()(TEXTS, padding=True, return_tensors="pt")
    vectors = F.normalize(other(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).text_embeds, dim=1)
    with pytest.raises(UserError, match="are different models: their vectors of 'a dog bark'"):
        check_text(str(folder), TEXTS, vectors)
    other.save_pretrained(folder / "text_encoder")
    check_text(str(folder), TEXTS, vectors)


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta_end": 0.02}, r"has beta_end 0\.02, expected 0\.0195: these weights know other noise than ours"),
        ({"beta_schedule": "linear"}, r"has beta_schedule linear, expected scaled_linear"),
        ({"num_train_timesteps": 4_000}, r"has num_train_timesteps 4000, expected 1000"),
        ({"prediction_type": "v_prediction"}, r"has prediction_type v_prediction, expected epsilon"),
    ],
)
def test_other_schedules_are_refused(changes: dict[str, Any], message: str, folder: Path) -> None:
    check_schedule(str(folder), SCHEDULE)
    _rewrite(folder / "scheduler/scheduler_config.json", **changes)
    with pytest.raises(UserError, match=message):
        check_schedule(str(folder), SCHEDULE)


@pytest.mark.parametrize(
    ("load", "changes", "message"),
    [
        (_denoiser, {"_class_name": "AudioLDM2UNet2DConditionModel"}, r"a AudioLDM2UNet2DConditionModel, no UNet2DCondition"),
        (_denoiser, {"resnet_time_scale_shift": "scale_shift"}, r"has .* scale_shift, the config's has default; start from an"),
        (_denoiser, {"block_out_channels": [16]}, r"describes no UNet2DConditionModel \("),
        (_vae, {"_class_name": "VQModel"}, r"holds a VQModel, no AutoencoderKL; start from an AudioLDM checkpoint"),
        (_vae, {"shift_factor": 0.5}, r"has shift_factor 0\.5, the config's has None; start from an AudioLDM checkpoint"),
    ],
)
def test_nets_that_are_none_of_audioldm_are_refused(
    load: Callable[[Path], Any], changes: dict[str, Any], message: str, folder: Path
) -> None:
    _rewrite(folder / ("vae" if load is _vae else "unet") / "config.json", **changes)
    with pytest.raises(UserError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("load", "changes", "message"),
    [
        (_denoiser, {"widths": (8, 16)}, r"block_out_channels \[16, 32\], .* \[8, 16\]; write denoiser\.widths: \[16, 32\]"),
        (_denoiser, {"blocks": 2}, r"layers_per_block 1, the config's has 2; write denoiser\.blocks: 1"),
        (_denoiser, {"groups": 4}, r"norm_num_groups 8, .* write denoiser\.groups: 8"),
        (_denoiser, {"condition_width": 512}, r"write denoiser\.condition_width: 24"),
        (_denoiser, {"heads": (4, 4)}, r"has heads 8, the config's has \[4, 4\]; write denoiser\.heads: 8"),
        (_vae, {"widths": (8, 16, 32)}, r"write vae\.widths: \[8, 16, 16\]"),
        (_vae, {"mid_attention": False}, r"write vae\.mid_attention: True"),
        (_vae, {"latent_channels": 8}, r"write vae\.latent_channels: 4"),
    ],
)
def test_a_config_of_other_sizes_is_told_the_setting(
    load: Callable[..., Any], changes: dict[str, Any], message: str, saved: tuple[AudioLDMPipeline, Path]
) -> None:
    with pytest.raises(UserError, match=message):
        load(saved[1], **changes)


def test_heads_are_one_number_or_one_for_each_level(saved: tuple[AudioLDMPipeline, Path]) -> None:
    """Those of levels without attention do not matter."""
    _denoiser(saved[1], heads=(4, 8))


def test_damaged_and_missing_folders_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (folder / "unet/config.json").write_text("{")
    with pytest.raises(UserError, match=r"unet/config.json does not read as JSON"):
        _denoiser(folder)
    (folder / "unet/config.json").write_text("[]")
    with pytest.raises(UserError, match=r"unet/config.json holds list; settings by name are expected"):
        _denoiser(folder)
    state = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    state["decoder.conv_out.bias"][0] = float("nan")
    save_file(state, folder / "vae/diffusion_pytorch_model.safetensors")
    with pytest.raises(UserError, match=r"'decoder.conv_out.bias' of the weights in .*vae holds values that are not finite"):
        _vae(folder)
    (folder / "vae/diffusion_pytorch_model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="does not read as safetensors"):
        _vae(folder)
    for file, message in (
        ("tokenizer/tokenizer.json", "holds no readable text encoder and tokenizer of CLAP"),
        ("text_encoder/config.json", "text_encoder/config.json does not read as JSON"),
    ):
        (folder / file).write_text("{")
        with pytest.raises(UserError, match=message):
            check_text(str(folder), TEXTS, torch.zeros(3, audioldm.DIM))
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(UserError, match=r"has no sub-folder 'tokenizer'; a pipeline as diffusers saves it is expected"):
        check_text(str(folder), TEXTS, torch.zeros(3, audioldm.DIM))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError, match=r"cvssp/audioldm-m-full could not be fetched .*hf download cvssp/audioldm-m-full"):
        check_schedule("cvssp/audioldm-m-full", SCHEDULE)


def test_published_sizes_are_those_of_the_settings() -> None:
    """The millions of parameters that the papers' tables and the hub's files come to, by diffusers' own nets."""
    for widths, millions in (((128, 256, 384, 640), 185), ((192, 384, 576, 960), 416), ((256, 512, 768, 1280), 739)):
        with torch.device("meta"):
            net = UNet2DConditionModel(**DenoiserSettings(widths=widths, heads=8).layout(8))
        assert round(sum(p.numel() for p in net.parameters()) / 1e6) == millions
    with torch.device("meta"):
        vae = AutoencoderKL(**VaeSettings().layout)
    assert round(sum(p.numel() for p in vae.parameters()) / 1e6) == 55


# As a system


def _config(start: Path, clap: Path) -> Config:
    """The toy's corpus at 8 kHz, heard at the 4 kHz of the published weights."""
    return Config.parse(
        {
            "clip": toy.CLIP.model_dump(),
            "mel": toy.MEL.model_dump(),
            "front": audioldm.MEL.model_dump(),
            "start": str(start),
            "clap": {"kind": "published", "model": str(clap), "prompts": {"Low": "rain", "High": "a dog bark"}},
            "vocoder": {"kind": "speecht5", "start": str(start), "layout": LAYOUT.model_dump()},
            "vae": VAE.model_dump(),
            "denoiser": DENOISER.model_dump(),
            "training": {
                name: {"steps": 1, "batch_size": 2, "average": 0.9 if name.startswith("ldm") else None}
                for name in ("clap", "vocoder", "vae", "ldm_pretrain", "ldm_finetune")
            },
        },
        "test",
    )


@pytest.mark.slow
def test_what_begins_with_public_weights_is_whole_without_them(folder: Path, tmp_path: Path) -> None:
    audioldm.clap_model(tmp_path / "clap")
    config, store = _config(folder, tmp_path / "clap"), toy.write_store(tmp_path / "store", num_clips=8)
    published = {part: load_file(folder / part / "diffusion_pytorch_model.safetensors") for part in ("vae", "unet")}
    saved = train(system.find("ldm"), config, store, tmp_path / "out", workers=0, progress=toy.Said())
    for stage, net, part in (("vae", "vae", "vae"), ("ldm_pretrain", "denoiser", "unet")):
        begun, later = saved[stage][0].weights(), saved[stage][-1].weights(averaged=False)
        assert all(torch.equal(begun[f"{net}.net.{name}"], value) for name, value in published[part].items())
        assert any(not torch.equal(later[f"{net}.net.{name}"], value) for name, value in published[part].items())
    spread = saved["vae"][-1].card.scores["validation/spread"]
    assert spread == pytest.approx(1 / audioldm.SCALE), "the published scale stays"
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "clap")
    sampler = system.load_sampler({stage: steps[-1] for stage, steps in saved.items()}, torch.device("cpu"))
    wave = sampler.sample(torch.tensor([0, 1]), [sampler.params(), sampler.params()], [0, 1])
    assert wave.shape == (2, toy.CLIP.num_samples) and wave.isfinite().all() and wave.std() > 0 and wave.abs().max() <= 1


def test_a_foreign_clap_is_refused_before_anything_is_learned(folder: Path, tmp_path: Path) -> None:
    audioldm.clap_model(tmp_path / "clap", seed=1)
    classes = toy.CLASSES
    stages = {stage.name: stage for stage in system.find("ldm").stages(_config(folder, tmp_path / "clap"), classes)}
    needed = {"clap": stages["clap"].build({})}
    with pytest.raises(UserError, match=r"are different models: their vectors of ''"):
        stages["ldm_pretrain"].build(needed)


def test_the_shipped_config_describes_the_public_checkpoint() -> None:
    """What `unet/config.json` and `vocoder/config.json` of cvssp/audioldm-m-full say."""
    _, config = system.read_config("systems/ldm/audioldm_m.yaml")
    assert isinstance(config, Config) and isinstance(config.vocoder, SpeechT5Settings)
    layout = config.denoiser.layout(config.vae.latent_channels)
    assert config.start == config.vocoder.start == "cvssp/audioldm-m-full" and config.grid == (8, 100, 16)
    assert layout["block_out_channels"] == layout["cross_attention_dim"] == (192, 384, 576, 960)
    assert layout["attention_head_dim"] == 8 and layout["projection_class_embeddings_input_dim"] == 512
    assert config.vocoder.layout.hop == config.heard.hop and config.heard.sample_rate_hz == 16_000
