"""The training of a vocoder: its pieces of clips, its losses against hand-made values, its turns."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from foleyray.audio.mel import Mel
from foleyray.clips import ClipSpec, MelSpec
from foleyray.config import UserError
from foleyray.modules import adversarial, vocoder_stage
from foleyray.modules.hifigan import HiFiGANLayout, folded, weight_normed
from foleyray.modules.segments import Segments
from foleyray.modules.vocoder import HiFiGANSettings
from foleyray.modules.vocoder_stage import VocoderStage
from foleyray.stage import Batch, Shared, Step, Training
from foleyray.train.loop import Loop
from foleyray.train.workers import Alone

CLIP = ClipSpec(sample_rate_hz=16_000, seconds=0.25)
MEL = MelSpec(sample_rate_hz=16_000, fft=256, hop=32, window=256, bands=16, high_hz=6_000)
LAYOUT = HiFiGANLayout(channels=16, rates=(8, 4), kernels=(16, 8), resblock=2, residual_kernels=(3,), dilations=((1, 3),))
SETTINGS = HiFiGANSettings(layout=LAYOUT, segment=1024, judge_width=4)
PLAIN = SETTINGS.model_copy(update={"judges": (), "learning_rate": 4e-3})


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Fresh nets draw their weights from the process's own random numbers."""
    torch.manual_seed(0)


def _draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _wave(clips: int = 4, num_samples: int = CLIP.num_samples) -> Tensor:
    time = torch.linspace(0, 1, num_samples)
    return 0.2 * torch.randn(clips, num_samples, generator=_draws()) * torch.exp(-3 * time)


def _batch() -> Batch:
    return {"wave": _wave()}


def _step(index: int = 0) -> Step:
    return Step(index, 10, _draws())


def _loop(settings: HiFiGANSettings, precision: str = "float32") -> Loop:
    stage = VocoderStage(settings, CLIP, MEL)
    training = Training(steps=100, batch_size=4, precision=precision)  # type: ignore[arg-type]
    return Loop(stage, training, stage.build({}), Alone(torch.device("cpu")))


# Pieces of clips


@pytest.mark.parametrize(
    "spec",
    [
        MEL,
        MEL.model_copy(update={"centre": True}),
        MEL.model_copy(update={"hop": 100}),
        MEL.model_copy(update={"window": 200, "hop": 37}),
    ],
    ids=["plain", "centred", "hop", "odd"],
)
@pytest.mark.parametrize("num_samples", [4_000, 4_096, 4_111])
def test_the_mel_of_a_piece_is_cut_from_the_whole_clips(spec: MelSpec, num_samples: int) -> None:
    segments, wave = Segments(spec, 10 * spec.hop), _wave(64, num_samples)
    whole = Mel(spec)(wave)
    mel, piece = segments.cut(wave, _draws())
    assert mel.shape == (64, 16, 10) and piece.shape == (64, 10 * spec.hop)
    begins = set()
    for clip in range(64):
        places = [
            begin
            for begin in range(num_samples // spec.hop - 9)
            if torch.equal(wave[clip, begin * spec.hop : (begin + 10) * spec.hop], piece[clip])
        ]
        assert len(places) == 1
        begins.add(places[0])
        assert torch.allclose(mel[clip], whole[clip, :, places[0] : places[0] + 10], atol=1e-4)
    assert len(begins) > 15


def test_pieces_reach_both_ends_of_a_clip() -> None:
    wave = torch.arange(CLIP.num_samples).expand(2_000, -1).float()
    piece = Segments(MEL, 1024).cut(wave, _draws())[1]
    assert piece[:, 0].min() == 0 and piece[:, -1].max() == CLIP.num_samples - 1


def test_a_piece_as_long_as_the_clip_is_the_clip() -> None:
    mel, piece = Segments(MEL, CLIP.num_samples).cut(_wave(), _draws())
    assert torch.equal(piece, _wave()) and torch.allclose(mel, Mel(MEL)(_wave()), atol=1e-4)


def test_mels_are_float32_under_autocast() -> None:
    exact = Segments(MEL, 1024).cut(_wave(), _draws())[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Segments(MEL, 1024).cut(_wave(), _draws())[0], exact)


# The losses


def test_least_squares_and_features_by_hand() -> None:
    real = [(torch.tensor([[1.0, 0.5]]), [torch.zeros(1, 4), torch.ones(1, 2)]), (torch.tensor([[2.0]]), [torch.zeros(1, 1)])]
    made = [
        (torch.tensor([[0.0, 1.0]]), [torch.ones(1, 4), torch.ones(1, 2)]),
        (torch.tensor([[-1.0]]), [torch.full((1, 1), 3.0)]),
    ]
    assert adversarial.generator_loss(made) == pytest.approx(0.5 + 4)
    found = adversarial.discriminator_losses(real, made)
    assert found["on_real"] == pytest.approx(0.125 + 1) and found["on_made"] == pytest.approx(0.5 + 1)
    assert found["loss"] == found["on_real"] + found["on_made"]
    assert adversarial.feature_matching(real, made) == pytest.approx(1 + 0 + 3)


def test_the_loss_is_weighted_and_hears_the_full_band() -> None:
    stage = VocoderStage(SETTINGS, CLIP, MEL)
    assert stage.full_band.spec == MEL.model_copy(update={"high_hz": 8_000.0})
    found = stage.loss("generator", stage.build({}), _batch(), _step())
    assert torch.isclose(found["loss"], 45 * found["mel"] + 2 * found["features"] + found["adversarial"])


def test_a_whistle_over_the_input_mel_is_heard_by_the_loss_alone() -> None:
    stage = VocoderStage(SETTINGS, CLIP, MEL)
    wave = 0.01 * _wave()
    whistle = wave + 0.2 * torch.sin(2 * torch.pi * 7_500 / 16_000 * torch.arange(CLIP.num_samples))
    assert adversarial.distance(Mel(MEL), whistle, wave) < 0.2 < adversarial.distance(stage.full_band, whistle, wave)


def test_a_perfect_copy_has_no_error() -> None:
    assert adversarial.distance(Mel(MEL), _wave(), _wave()) == 0
    assert adversarial.distance(Mel(MEL), torch.zeros(1, 4_000), torch.zeros(1, 4_000)) == 0, "silent pieces are allowed"


# The turns


def test_one_making_serves_both_turns() -> None:
    stage = VocoderStage(SETTINGS, CLIP, MEL)
    nets, step = stage.build({}), _step()
    stage.loss("generator", nets, _batch(), step)
    real, made = step.memo["real_and_made"]
    assert real.shape == made.shape == (4, 1024) and not made.requires_grad
    loss = stage.loss("discriminator", nets, _batch(), step)["loss"]
    loss.backward()
    assert not step.memo and all(p.grad is None for p in nets["generator"].parameters())
    assert all(p.grad is not None for name in SETTINGS.judges for p in nets[name].parameters())


def test_the_generators_turn_leaves_the_judges_as_they_are() -> None:
    stage = VocoderStage(SETTINGS, CLIP, MEL)
    nets = stage.build({})
    before = {key: value.clone() for key, value in nets.state_dict().items()}
    stage.loss("generator", nets, _batch(), _step())["loss"].backward()
    assert all(torch.equal(value, before[key]) for key, value in nets.state_dict().items())
    assert all(nets[name].training for name in SETTINGS.judges)
    assert all(p.grad is not None for p in nets["generator"].parameters())


def test_without_judges_only_the_generator_is_built_and_trained() -> None:
    stage = VocoderStage(PLAIN, CLIP, MEL)
    assert list(stage.build({})) == ["generator"] and dict(stage.turns) == {"generator": ("generator",)}
    found = stage.loss("generator", stage.build({}), _batch(), _step())
    assert found.keys() == {"loss", "mel"} and found["loss"] == 45 * found["mel"]


@pytest.mark.parametrize("judges", [("periods",), ("scales",)])
def test_either_judge_may_stand_alone(judges: tuple[str, ...]) -> None:
    loop = _loop(SETTINGS.model_copy(update={"judges": judges}))
    assert set(loop.nets) == {"generator", *judges}
    assert all(value.isfinite() for losses in loop.advance([_batch()]).values() for value in losses.values())


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_steps_of_the_loop_stay_finite_in_either_precision(precision: str) -> None:
    loop = _loop(SETTINGS, precision)
    for _ in range(2):
        found = loop.advance([_batch(), _batch()])
    assert found.keys() == {"generator", "discriminator"}
    assert all(value.isfinite() and value.dtype == torch.float32 for losses in found.values() for value in losses.values())


def test_copy_synthesis_gets_better() -> None:
    loop = _loop(PLAIN)
    before = loop.validate([_batch()])
    for _ in range(60):
        loop.advance([_batch()])
    after = loop.validate([_batch()])
    assert after.keys() == {"loss", "copy_synthesis"}
    assert after["loss"] < 0.9 * before["loss"] and after["copy_synthesis"] < 0.9 * before["copy_synthesis"]


def test_judges_learn_to_tell_real_from_made() -> None:
    stage = VocoderStage(SETTINGS.model_copy(update={"learning_rate": 1e-3, "judges": ("periods",)}), CLIP, MEL)
    nets, found = stage.build({}), []
    optimizer = stage.optimizer("discriminator", nets)
    for _ in range(15):
        step = _step()
        with torch.no_grad():
            stage.loss("generator", nets, _batch(), step)
        losses = stage.loss("discriminator", nets, _batch(), step)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        found.append(losses["loss"].item())
    assert found[-1] < 0.5 * found[0]


def test_the_learning_rate_falls_with_the_steps_alone() -> None:
    stage = VocoderStage(SETTINGS.model_copy(update={"decay": 0.5, "decay_every": 10}), CLIP, MEL)
    assert [stage.learning_rate("generator", _step(index)) for index in (0, 10, 20)] == [1, 0.5, 0.25]
    assert stage.learning_rate("generator", Step(5, 10, _draws())) == stage.learning_rate("generator", Step(5, 10**6, _draws()))


def test_systems_share_a_vocoder_that_follows_from_the_same_things() -> None:
    stage = VocoderStage(SETTINGS, CLIP, MEL)
    assert isinstance(stage, Shared)
    assert stage.identity.model_dump().keys() == {"vocoder", "clip", "mel"}


# Going on from public weights


def _public(folder: Path, generator: nn.Module) -> HiFiGANSettings:
    settings = {
        "resblock": "2",
        "upsample_rates": LAYOUT.rates,
        "upsample_kernel_sizes": LAYOUT.kernels,
        "upsample_initial_channel": LAYOUT.channels,
        "resblock_kernel_sizes": LAYOUT.residual_kernels,
        "resblock_dilation_sizes": LAYOUT.dilations,
        "num_mels": 16,
        "n_fft": 256,
        "hop_size": 32,
        "win_size": 256,
        "sampling_rate": 16_000,
        "fmin": 0,
        "fmax": 6_000,
    }
    torch.save({"generator": generator.state_dict()}, folder / "generator")
    (folder / "config.json").write_text(json.dumps(settings))
    start = {"weights": folder / "generator", "settings": folder / "config.json"}
    return HiFiGANSettings.parse(SETTINGS.model_dump() | {"start": start}, "test")


def test_training_goes_on_from_public_weights(tmp_path: Path) -> None:
    source = vocoder_stage.HiFiGAN(LAYOUT, 16)
    stage = VocoderStage(_public(tmp_path, weight_normed(source)), CLIP, MEL)
    generator = stage.build({})["generator"]
    mel = Mel(MEL)(_wave())
    assert torch.allclose(generator(mel), folded(source)(mel), atol=1e-5)
    assert all(p.requires_grad for p in generator.parameters()) and generator.training
    assert {key for key, _ in generator.named_parameters()} == {key for key, _ in source.named_parameters()}


def test_public_weights_of_another_layout_are_refused(tmp_path: Path) -> None:
    settings = _public(tmp_path, vocoder_stage.HiFiGAN(LAYOUT, 16))
    other = settings.model_copy(update={"layout": LAYOUT.model_copy(update={"channels": 32})})
    with pytest.raises(UserError, match=r"channels=16.*the config says.*channels=32"):
        VocoderStage(other, CLIP, MEL).build({})
