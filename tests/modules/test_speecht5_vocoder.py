"""The vocoder of transformers: equal to the original, refused where it does not fit, kept by a stage that trains nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import SpeechT5HifiGan

from foleyray.audio.mel import Mel
from foleyray.audio.wav import resample
from foleyray.clips import ClassList, ClipSpec, MelSpec
from foleyray.config import UserError
from foleyray.modules.hifigan import HiFiGANLayout
from foleyray.modules.speecht5_vocoder import SpeechT5Generator, SpeechT5VocoderStage, load_published
from foleyray.modules.vocoder import AUDIOLDM, NeuralVocoder, SpeechT5Settings, open_vocoder
from foleyray.modules.vocoder_stage import vocoder_stages
from foleyray.stage import Shared, Stage, Step, Training
from foleyray.train.loop import Loop
from foleyray.train.run import train
from foleyray.train.workers import Alone
from tests.modules.speecht5 import LAYOUT, published
from tests.train import toy

CLIP, MEL = toy.CLIP, toy.MEL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a pipeline is saved: the vocoder lies in a sub-folder."""
    published(tmp_path / "pipeline/vocoder", rate_hz=MEL.sample_rate_hz, bands=MEL.bands)
    return tmp_path / "pipeline"


def _settings(folder: Path, **changes: Any) -> SpeechT5Settings:
    return SpeechT5Settings(start=str(folder), **({"layout": LAYOUT} | changes))


def _original(folder: Path) -> SpeechT5HifiGan:
    return SpeechT5HifiGan.from_pretrained(folder / "vocoder", local_files_only=True).eval()


def _frames(count: int = 12) -> Tensor:
    return torch.randn(2, MEL.bands, count, generator=torch.Generator().manual_seed(0)) * 3 - 5


def _noise(num_samples: int) -> Tensor:
    return 0.1 * torch.randn(2, num_samples, generator=torch.Generator().manual_seed(0))


def _rewrite(folder: Path, **changes: Any) -> None:
    """Other words in the vocoder's config.json."""
    file = folder / "vocoder/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


# The network


@torch.no_grad()
def test_it_sounds_as_the_original(folder: Path) -> None:
    frames = _frames()
    expected = _original(folder)(frames.transpose(1, 2))
    assert expected.std() > 0.01
    for start in (folder, folder / "vocoder"):
        loaded = load_published(_settings(start), MEL)
        assert torch.equal(loaded(frames), expected)
        assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


@torch.no_grad()
def test_bands_may_be_normalised_by_the_network_itself(tmp_path: Path) -> None:
    network = published(tmp_path / "vocoder", rate_hz=MEL.sample_rate_hz, bands=MEL.bands, normalize_before=True)
    with pytest.raises(UserError, match=r"has normalize_before True, expected False; write its sizes into vocoder\.layout and"):
        load_published(_settings(tmp_path), MEL)
    loaded = load_published(_settings(tmp_path, normalize_before=True), MEL)
    assert network.scale.min() < 0.09, "numbers that change something"
    assert torch.equal(loaded(_frames()), network(_frames().transpose(1, 2)))


def test_samples_stay_float32_under_autocast(folder: Path) -> None:
    loaded = load_published(_settings(folder), MEL)
    exact = loaded(_frames())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loaded(_frames()), exact)


def test_audioldms_own_layout_is_the_default() -> None:
    """400 frames of 160 samples become 64,032, of which the pipeline keeps the first 64,000."""
    mel = MelSpec(sample_rate_hz=16_000, fft=1024, hop=160, window=1024, bands=64)
    assert AUDIOLDM.hop == mel.hop
    with torch.device("meta"):
        generator = SpeechT5Generator(SpeechT5Settings(start="cvssp/audioldm-m-full"), mel)
        assert generator.network(torch.empty(1, 400, 64)).shape == (1, 64_032)


@torch.no_grad()
def test_pickled_weights_are_read_where_there_are_no_others(folder: Path) -> None:
    original = _original(folder)
    safe = folder / "vocoder/model.safetensors"
    torch.save(original.state_dict(), folder / "vocoder/pytorch_model.bin")
    safe.unlink()
    assert torch.equal(load_published(_settings(folder), MEL)(_frames()), original(_frames().transpose(1, 2)))
    torch.save({"conv_pre.bias": Path("code that must not run")}, folder / "vocoder/pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model.bin does not read as PyTorch weights: it holds more than tensors"):
        load_published(_settings(folder), MEL)
    (folder / "vocoder/pytorch_model.bin").unlink()
    with pytest.raises(UserError, match=r"vocoder holds no weights; one of .*model.safetensors"):
        load_published(_settings(folder), MEL)


@torch.no_grad()
def test_weight_norm_is_folded(folder: Path) -> None:
    """A network that was saved while in training; transformers would read it as random weights."""
    original = _original(folder)
    expected = original(_frames().transpose(1, 2))
    original.apply_weight_norm()
    save_file({key: value.contiguous() for key, value in original.state_dict().items()}, folder / "vocoder/model.safetensors")
    assert torch.allclose(load_published(_settings(folder), MEL)(_frames()), expected, atol=1e-6)


# What does not fit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling_rate": 16_000}, r"has sampling_rate 16000, expected 8000; choose a vocoder of the config's mel"),
        ({"model_in_dim": 80}, r"has model_in_dim 80, expected 4; choose a vocoder of the config's mel"),
        ({"upsample_rates": [8, 4, 4]}, r"makes 128 samples of each frame \(upsample_rates .*hop of 64"),
        (
            {"upsample_rates": [4, 4, 4]},
            r"has upsample_rates \(4, 4, 4\), expected \(8, 4, 2\); write its sizes into vocoder.layout",
        ),
        ({"upsample_initial_channel": 16}, r"has upsample_initial_channel 16, expected 8; write"),
        ({"resblock_dilation_sizes": [[1, 3], [1, 3]]}, r"has resblock_dilation_sizes \(\(1, 3\), \(1, 3\)\), expected"),
        ({"leaky_relu_slope": 0.2}, r"has leaky_relu_slope 0\.2, expected 0\.1"),
    ],
)
def test_the_first_field_that_differs_is_named(changes: dict[str, Any], message: str, folder: Path) -> None:
    _rewrite(folder, **changes)
    with pytest.raises(UserError, match=message):
        load_published(_settings(folder), MEL)


def test_a_hop_that_is_not_the_mels_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    settings = SpeechT5Settings(start=str(tmp_path / "none"), layout=LAYOUT)
    with pytest.raises(UserError, match=r"make 64 samples of each frame, but the mel has a hop of 32"):
        SpeechT5VocoderStage(settings, CLIP, MEL.model_copy(update={"hop": 32}))


def test_single_convolutions_are_refused() -> None:
    with pytest.raises(UserError, match=r"two convolutions for each dilation"):
        SpeechT5Settings.parse({"start": "x/y", "layout": {"resblock": 2}}, "vocoder")


def test_damaged_folders_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tensors = _original(folder).state_dict()
    tensors.pop("conv_post.bias")
    save_file(tensors, folder / "vocoder/model.safetensors")
    with pytest.raises(UserError, match=r"the vocoder's weights in .*vocoder lack 'conv_post.bias' \[1\]"):
        load_published(_settings(folder), MEL)
    (folder / "vocoder/config.json").write_text("{")
    with pytest.raises(UserError, match=r"vocoder holds no readable config.json of a SpeechT5HifiGan"):
        load_published(_settings(folder), MEL)
    shutil.rmtree(folder / "vocoder")
    with pytest.raises(UserError, match=r"has no sub-folder 'vocoder'; a pipeline as diffusers saves it is expected"):
        load_published(_settings(folder), MEL)
    with pytest.raises(UserError, match=r"/none' is neither a folder nor a name on the Hugging Face hub"):
        load_published(_settings(folder / "none"), MEL)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"nobody/nothing could not be fetched .*hf download nobody/nothing.*holds vocoder"):
        load_published(SpeechT5Settings(start="nobody/nothing", layout=LAYOUT), MEL)


# As a stage, and as what it leaves behind


def test_the_stage_trains_nothing(folder: Path) -> None:
    (stage,) = vocoder_stages(_settings(folder), CLIP, MEL)
    assert isinstance(stage, SpeechT5VocoderStage) and isinstance(stage, Shared) and stage.name in stage.settings.stages
    loop = Loop(stage, Training(steps=1, batch_size=2), stage.build({}), Alone(torch.device("cpu")))
    before = {key: value.clone() for key, value in loop.nets.state_dict().items()}
    assert loop.advance([{"wave": _noise(CLIP.num_samples)}]) == {} and loop.step == 1
    assert all(torch.equal(value, before[key]) for key, value in loop.nets.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize("factor", [1, 2])
def test_it_is_judged_by_copy_synthesis_at_its_own_rate(factor: int, folder: Path) -> None:
    """A corpus may have another rate than the vocoder."""
    stage = SpeechT5VocoderStage(_settings(folder), CLIP, MEL)
    nets, wave, mel = stage.build({}), _noise(factor * CLIP.num_samples), Mel(MEL)
    real = resample(wave, factor * CLIP.sample_rate_hz, CLIP.sample_rate_hz)
    made = NeuralVocoder(nets["generator"], CLIP.num_samples)(mel(real), torch.empty(2, 0))
    losses = stage.validate(nets, {"wave": wave}, Step(0, 1, torch.Generator()))
    assert losses == {"loss": pytest.approx(float((mel(made) - mel(real)).abs().mean()))}


@torch.no_grad()
def test_its_checkpoint_sounds_without_the_folder(folder: Path, tmp_path: Path) -> None:
    """A whole training of one step, after which the folder is gone."""
    settings = _settings(folder)
    config, store = toy.config(steps=1), toy.write_store(tmp_path / "store")
    config = config.model_copy(update={"training": config.training | {"vocoder": Training(steps=1, batch_size=2)}})

    def stages(config: toy.ToyConfig, classes: ClassList) -> tuple[Stage, ...]:
        return (*vocoder_stages(settings, config.clip, config.mel), *toy.SYSTEM.stages(config, classes))

    system = replace(toy.SYSTEM, stages=stages)
    saved = train(system, config, store, tmp_path / "out", workers=0, progress=toy.Said(), until="vocoder")["vocoder"]
    assert [found.card.step for found in saved] == [0, 1]
    assert saved[-1].card.system is None and saved[-1].card.config["vocoder"]["start"] == str(folder)
    frames = _frames(MEL.frames(CLIP.num_samples))
    expected = _original(folder)(frames.transpose(1, 2))
    shutil.rmtree(folder)
    vocoder = open_vocoder(settings, CLIP, MEL, saved[-1])
    wave = vocoder(frames, torch.stack([vocoder.noise(torch.Generator()) for _ in range(2)]))
    kept = min(CLIP.num_samples, expected.shape[1])
    assert wave.shape == (2, CLIP.num_samples) and torch.equal(wave[:, :kept], expected[:, :kept])
    with pytest.raises(UserError, match="does not fit the vocoder of its config"):
        open_vocoder(
            settings.model_copy(update={"layout": HiFiGANLayout(rates=(8, 8), kernels=(16, 16))}), CLIP, MEL, saved[-1]
        )
    with pytest.raises(UserError, match=f"takes mel {MEL.id}"):
        open_vocoder(settings, CLIP, MEL.model_copy(update={"high_hz": 3_000.0}), saved[-1])


@pytest.mark.parametrize("num_samples", [640, 800])
def test_the_wave_is_cut_or_filled_to_the_clip(num_samples: int, folder: Path) -> None:
    generator = load_published(_settings(folder), MEL)
    made = generator(_frames(11))
    assert made.shape[1] > 11 * MEL.hop, "an odd kernel makes more than the frames last"
    clip = ClipSpec(sample_rate_hz=MEL.sample_rate_hz, seconds=num_samples / MEL.sample_rate_hz)
    wave = NeuralVocoder(generator, clip.num_samples)(_frames(11), torch.empty(2, 0))
    kept = min(num_samples, made.shape[1])
    assert wave.shape == (2, num_samples)
    assert torch.equal(wave[:, :kept], made[:, :kept]) and not wave[:, kept:].any()
