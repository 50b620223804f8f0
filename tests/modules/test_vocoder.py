"""HiFi-GAN as a network and as a vocoder: sizes, lengths, arithmetic against plain functions, public checkpoints."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from foleyray import checkpoint
from foleyray.checkpoint import Card, Checkpoint
from foleyray.clips import DCASE7, ClipSpec, MelSpec
from foleyray.config import UserError
from foleyray.modules.hifigan import HiFiGAN, HiFiGANLayout, folded, weight_normed
from foleyray.modules.public_hifigan import load_public
from foleyray.modules.vocoder import GriffinLimSettings, HiFiGANSettings, NeuralVocoder, open_vocoder

CLIP = ClipSpec(sample_rate_hz=16_000, seconds=0.5)
MEL = MelSpec(sample_rate_hz=16_000, fft=128, hop=32, window=128, bands=8)
TINY = HiFiGANLayout(channels=8, rates=(8, 4), kernels=(16, 8), residual_kernels=(3, 5), dilations=((1, 3), (1, 2)))
TINY2 = TINY.model_copy(update={"resblock": 2})
V3 = HiFiGANLayout(
    channels=256,
    rates=(8, 8, 4),
    kernels=(16, 16, 8),
    resblock=2,
    residual_kernels=(3, 5, 7),
    dilations=((1, 2), (2, 6), (3, 12)),
)
RATES_16K = {"rates": (5, 4, 2, 2, 2), "kernels": (16, 16, 8, 4, 4)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Fresh nets draw their weights from the process's own random numbers."""
    torch.manual_seed(0)


def _draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _frames(count: int = 12, bands: int = MEL.bands) -> Tensor:
    return torch.randn(2, bands, count, generator=_draws()) * 3 - 5


def _lively(layout: HiFiGANLayout) -> HiFiGAN:
    """Random weights, whose lengths are not those of their directions."""
    generator = weight_normed(HiFiGAN(layout, MEL.bands))
    with torch.no_grad():
        for key, parameter in generator.named_parameters():
            if key.endswith("original0"):
                parameter.mul_(torch.rand(parameter.shape, generator=_draws()) * 2 + 0.5)
    return generator


# The network


@pytest.mark.parametrize(
    ("layout", "bands", "size"),
    [
        (HiFiGANLayout(), 80, 13_936_130),
        (HiFiGANLayout(channels=128), 80, 928_514),
        (V3, 80, 1_464_322),
        (HiFiGANLayout(rates=(8, 5, 4, 2), kernels=(16, 11, 8, 4)), 1152, 17_647_106),
    ],
    ids=["V1", "V2", "V3", "CMU"],
)
def test_published_sizes(layout: HiFiGANLayout, bands: int, size: int) -> None:
    """13.94 M, 0.92 M and 1.46 M in the paper's table 1, 17.65 M for the vocoder of CMU's track A."""
    assert sum(p.numel() for p in weight_normed(HiFiGAN(layout, bands)).parameters()) == size


@pytest.mark.parametrize(
    ("sizes", "frames", "num_samples"),
    [
        ({}, 344, 88_064),
        (RATES_16K, 400, 64_000),
        ({"rates": (8, 5, 4, 2), "kernels": (16, 11, 8, 4)}, 300, 96_000),
        ({"rates": (3, 2), "kernels": (4, 5)}, 7, 42),
    ],
)
def test_every_frame_becomes_hop_samples(sizes: dict[str, Any], frames: int, num_samples: int) -> None:
    layout = HiFiGANLayout(channels=32, residual_kernels=(3,), dilations=((1,),), **sizes)
    wave = HiFiGAN(layout, 4)(_frames(frames, 4))
    assert wave.shape == (2, num_samples) and wave.abs().max() <= 1


def test_what_is_cut_leaves_the_wave_centred() -> None:
    """With kernels that are the same read backwards, frames read backwards must sound backwards."""
    layout = HiFiGANLayout(channels=32, residual_kernels=(3,), dilations=((1,),), **RATES_16K)
    generator = HiFiGAN(layout, 4)
    with torch.no_grad():
        for module in generator.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                module.weight.add_(module.weight.clone().flip(-1))
        frames = _frames(30, 4)
        assert torch.allclose(generator(frames).flip(-1), generator(frames.flip(-1)), atol=1e-6)


@pytest.mark.parametrize("layout", [TINY, TINY2], ids=["resblock1", "resblock2"])
def test_folding_changes_no_output(layout: HiFiGANLayout) -> None:
    generator = _lively(layout)
    plain = folded(generator)
    assert torch.allclose(plain(_frames()), generator(_frames()), atol=1e-5)
    assert not any(parametrize.is_parametrized(module) for module in plain.modules())
    assert not plain.training and not any(p.requires_grad for p in plain.parameters())
    assert generator.training and all(p.requires_grad for p in generator.parameters()), "the one that trains is left as it was"


def test_samples_stay_float32_under_autocast() -> None:
    generator = _lively(TINY)
    with torch.autocast("cpu", torch.bfloat16):
        wave = generator(_frames())
    exact = generator(_frames())
    assert wave.dtype == torch.float32 and not torch.equal(wave, wave.bfloat16().float())
    assert (wave - exact).abs().max() < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernels": (16, 16, 4)}, "as many as rates"),
        ({"kernels": (16, 16, 4, 1)}, "as long as its rate"),
        ({"dilations": ((1,),)}, "dilations are given for 1 of 3"),
        ({"residual_kernels": (3, 4, 5)}, "must be odd"),
        ({"channels": 100}, "multiple of 16"),
    ],
)
def test_impossible_layouts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        HiFiGANLayout.parse(changes, "layout")


def test_rates_that_do_not_make_the_hop_are_refused() -> None:
    with pytest.raises(UserError, match=r"make 256 samples of each frame, but the mel has a hop of 32"):
        HiFiGANSettings().check(CLIP, MEL)


@pytest.mark.parametrize("segment", [1000, 64, 16_000])
def test_segments_that_do_not_fit_are_refused(segment: int) -> None:
    with pytest.raises(UserError, match=f"segment {segment} must be a multiple of the hop 32"):
        HiFiGANSettings(layout=TINY, segment=segment).check(CLIP, MEL)


# Public checkpoints


def _public_json(layout: HiFiGANLayout, **changes: Any) -> dict[str, Any]:
    return {
        "resblock": str(layout.resblock),
        "num_gpus": 0,
        "batch_size": 16,
        "upsample_rates": layout.rates,
        "upsample_kernel_sizes": layout.kernels,
        "upsample_initial_channel": layout.channels,
        "resblock_kernel_sizes": layout.residual_kernels,
        "resblock_dilation_sizes": layout.dilations,
        "num_mels": MEL.bands,
        "n_fft": MEL.fft,
        "hop_size": MEL.hop,
        "win_size": MEL.window,
        "sampling_rate": MEL.sample_rate_hz,
        "fmin": 0,
        "fmax": None,
        "fmax_for_loss": None,
    } | changes


def _public_state(generator: HiFiGAN, spelling: str) -> dict[str, Tensor]:
    if spelling == "folded":
        return dict(folded(generator).state_dict())
    state = dict(generator.state_dict())
    if spelling == "old":
        names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, old in names.items():
            state = {key.replace(new, old): value for key, value in state.items()}
    return state


def _write(folder: Path, state: dict[str, Any], settings: dict[str, Any]) -> tuple[Path, Path]:
    weights, beside = folder / "g_00000001", folder / "config.json"
    torch.save({"generator": state}, weights)
    beside.write_text(json.dumps(settings))
    return weights, beside


def _by_hand(state: dict[str, Tensor], settings: dict[str, Any], frames: Tensor) -> Tensor:
    """The forward pass of the paper in plain functions, straight from lengths g and directions v."""

    def weight(name: str) -> Tensor:
        g, v = state[f"{name}.weight_g"], state[f"{name}.weight_v"]
        return g * v / v.square().sum(dim=(1, 2), keepdim=True).sqrt()

    def conv(x: Tensor, name: str, dilation: int = 1) -> Tensor:
        w = weight(name)
        return F.conv1d(x, w, state[f"{name}.bias"], padding=(w.shape[-1] - 1) // 2 * dilation, dilation=dilation)

    def block(x: Tensor, name: str, dilations: list[int]) -> Tensor:
        for index, dilation in enumerate(dilations):
            if settings["resblock"] == "1":
                y = conv(torch.where(x > 0, x, 0.1 * x), f"{name}.convs1.{index}", dilation)
                x = x + conv(torch.where(y > 0, y, 0.1 * y), f"{name}.convs2.{index}")
            else:
                x = x + conv(torch.where(x > 0, x, 0.1 * x), f"{name}.convs.{index}", dilation)
        return x

    x, number = conv(frames, "conv_pre"), 0
    for index, (rate, kernel) in enumerate(zip(settings["upsample_rates"], settings["upsample_kernel_sizes"], strict=True)):
        x = torch.where(x > 0, x, 0.1 * x)
        x = F.conv_transpose1d(x, weight(f"ups.{index}"), state[f"ups.{index}.bias"], rate, (kernel - rate) // 2)
        blocks = []
        for dilations in settings["resblock_dilation_sizes"]:
            blocks.append(block(x, f"resblocks.{number}", dilations))
            number += 1
        x = torch.stack(blocks).mean(dim=0)
    return torch.tanh(conv(torch.where(x > 0, x, 0.01 * x), "conv_post"))[:, 0]


@pytest.mark.parametrize("layout", [TINY, TINY2], ids=["resblock1", "resblock2"])
def test_public_layout_and_arithmetic(layout: HiFiGANLayout, tmp_path: Path) -> None:
    generator, settings = _lively(layout), _public_json(layout)
    state = _public_state(generator, "old")
    assert {"conv_pre.weight_g", "ups.0.weight_v", "conv_post.bias"} <= state.keys()
    kinds = {"convs1", "convs2"} if layout.resblock == 1 else {"convs"}
    assert {key.split(".")[2] for key in state if key.startswith("resblocks.3.")} == kinds
    loaded = load_public(*_write(tmp_path, state, settings), MEL)
    wave = loaded(_frames())
    assert wave.std() > 0.01
    assert torch.allclose(wave, _by_hand(state, settings, _frames()), atol=1e-5)
    assert torch.allclose(wave, generator(_frames()), atol=1e-5)
    assert loaded.layout == layout and not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("spelling", ["old", "new", "folded"])
def test_every_spelling_of_weight_norm_is_read(spelling: str, tmp_path: Path) -> None:
    generator = _lively(TINY)
    loaded = load_public(*_write(tmp_path, _public_state(generator, spelling), _public_json(TINY)), MEL)
    assert torch.allclose(loaded(_frames()), generator(_frames()), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling_rate": 22_050}, r"sample_rate_hz \('sampling_rate'\) 22050, expected 16000"),
        ({"n_fft": 256}, r"fft \('n_fft'\) 256, expected 128"),
        ({"win_size": 64}, r"window \('win_size'\) 64, expected 128"),
        ({"num_mels": 80}, r"bands \('num_mels'\) 80, expected 8"),
        ({"fmin": 30}, r"low_hz \('fmin'\) 30\.0, expected 0\.0"),
        ({"fmax": 7000}, r"high_hz \('fmax'\) 7000\.0, expected 8000\.0"),
    ],
)
def test_vocoders_of_other_mels_are_refused_by_the_first_field(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    files = _write(tmp_path, _public_state(_lively(TINY), "old"), _public_json(TINY, **changes))
    with pytest.raises(UserError, match=message):
        load_public(*files, MEL)


def test_mels_that_no_public_vocoder_takes_are_refused(tmp_path: Path) -> None:
    files = _write(tmp_path, _public_state(_lively(TINY), "old"), _public_json(TINY))
    for changes, message in (
        ({"filter_shape": "htk"}, "filter_shape slaney, expected htk"),
        ({"centre": True}, "centre False"),
    ):
        with pytest.raises(UserError, match=message):
            load_public(*files, MEL.model_copy(update=changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv_post.bias"), r"has no 'conv_post.bias' \(1 such\)"),
        (lambda state: state.pop("ups.1.weight_g"), r"no 'ups\.1\.weight_g' beside 'ups\.1\.weight_v'"),
        (lambda state: state.update({"film.weight": torch.zeros(1)}), r"has an unknown 'film\.weight'"),
        (lambda state: state.update({"conv_pre.bias": torch.zeros(9)}), r"'conv_pre\.bias' of shape \(9,\), expected \(8,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    state = _public_state(_lively(TINY), "old")
    change(state)
    with pytest.raises(UserError, match=message):
        load_public(*_write(tmp_path, state, _public_json(TINY)), MEL)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    weights, settings = _write(tmp_path, _public_state(_lively(TINY), "old"), _public_json(TINY))
    with pytest.raises(UserError, match="no weights of a vocoder at"):
        load_public(tmp_path / "none", settings, MEL)
    with pytest.raises(UserError, match="no settings of a vocoder at"):
        load_public(weights, tmp_path / "none", MEL)
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is no torch file of plain tensors"):
        load_public(weights, settings, MEL)
    torch.save({"generator": Path("code that must not run")}, weights)
    with pytest.raises(UserError, match="is no torch file of plain tensors"):
        load_public(weights, settings, MEL)
    torch.save({"state": {}}, weights)
    with pytest.raises(UserError, match=r"holds \['state'\]; tensors by name under 'generator' are expected"):
        load_public(weights, settings, MEL)
    settings.write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        load_public(weights, settings, MEL)
    settings.write_text("{}")
    with pytest.raises(UserError, match="'resblock' is missing"):
        load_public(weights, settings, MEL)


# As a vocoder


def _trained(folder: Path, generator: HiFiGAN) -> Checkpoint:
    card = Card(
        system="contrastive_gan",
        stage="vocoder",
        run="0" * 8,
        step=0,
        config={},
        classes=DCASE7,
        mel_id=MEL.id,
        corpus="none",
        version="0",
        commit="none",
    )
    return checkpoint.save(folder, card, nn.ModuleDict({"generator": generator}).state_dict(), None, {})


def test_zeros_follow_where_the_frames_end() -> None:
    """A centred front end has a frame too many, the other one frames that end early."""
    for centre in (False, True):
        mel = MEL.model_copy(update={"centre": centre})
        clip = ClipSpec(sample_rate_hz=16_000, seconds=0.5 + 20 / 16_000)
        vocoder = NeuralVocoder(_lively(TINY), clip.num_samples)
        wave = vocoder(_frames(mel.frames(clip.num_samples)), torch.empty(2, 0))
        assert wave.shape == (2, clip.num_samples)
        assert bool(wave[:, -20:].any()) == centre and wave[:, -21].all()


def test_both_kinds_are_called_alike(tmp_path: Path) -> None:
    trained = _trained(tmp_path, _lively(TINY))
    frames = _frames(MEL.frames(CLIP.num_samples))
    for settings in (GriffinLimSettings(iterations=2), HiFiGANSettings(layout=TINY, segment=256)):
        vocoder = open_vocoder(settings, CLIP, MEL, trained)
        noise = torch.stack([vocoder.noise(_draws(seed)) for seed in range(2)])
        wave = vocoder(frames, noise)
        assert wave.shape == (2, CLIP.num_samples) and wave.abs().max() <= 1
        assert torch.equal(wave, vocoder(frames, noise))


def test_trained_weights_sound_as_they_were_trained(tmp_path: Path) -> None:
    generator = _lively(TINY)
    vocoder = open_vocoder(HiFiGANSettings(layout=TINY), CLIP, MEL, _trained(tmp_path, generator))
    frames = _frames(MEL.frames(CLIP.num_samples))
    assert torch.allclose(vocoder(frames, torch.empty(2, 0)), generator(frames), atol=1e-5)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    trained = _trained(tmp_path, _lively(TINY))
    with pytest.raises(UserError, match="does not fit the vocoder of its config"):
        open_vocoder(HiFiGANSettings(layout=TINY2), CLIP, MEL, trained)
    other = MEL.model_copy(update={"high_hz": 7000.0})
    with pytest.raises(UserError, match=f"takes mel {MEL.id}, it is given mel {other.id}"):
        open_vocoder(HiFiGANSettings(layout=TINY), CLIP, other, trained)
