"""The tokenizer's stage: its losses, what each of them may move, and clips learned by heart."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.audio.mel import Mel
from foleyray.clips import DCASE7, ClipSpec, MelSpec
from foleyray.config import UserError
from foleyray.corpus.builtin import synthesise
from foleyray.modules.scaling import MelScale
from foleyray.modules.schedules import OneCycle, Triangular
from foleyray.modules.tokenizer import TokenizerSettings
from foleyray.modules.tokenizer_stage import TokenizerStage
from foleyray.modules.vq import usage
from foleyray.stage import Batch, Step, Training
from foleyray.train.loop import Loop
from foleyray.train.workers import Alone

SMALL = {"channels": 8, "residual_channels": 4, "residual_blocks": 1, "words": 32, "width": 8}


def _stage(**changes: object) -> TokenizerStage:
    return TokenizerStage(TokenizerSettings.parse(SMALL | changes, "test"), MelSpec(), ClipSpec(), len(DCASE7.names))


def _built(stage: TokenizerStage) -> nn.ModuleDict:
    torch.manual_seed(0)
    return stage.build({})


def _batch(seed: int = 0, clips: int = 6) -> Batch:
    mel = torch.rand(clips, 80, 344, generator=torch.Generator().manual_seed(seed)) * 13 - 11.5
    return {"mel": mel, "label": torch.arange(clips) % 7}


def _step(index: int = 0, total: int = 10) -> Step:
    return Step(index, total, torch.Generator().manual_seed(0))


def _state(nets: nn.ModuleDict) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in nets.state_dict().items()}


def _changed(nets: nn.ModuleDict, before: dict[str, Tensor]) -> set[str]:
    return {key.split(".", 1)[1] for key, value in nets.state_dict().items() if not torch.equal(value, before[key])}


def test_loss_is_error_commitment_and_class() -> None:
    stage, batch = _stage(class_weight=0.01), _batch()
    nets = _built(stage)
    with torch.no_grad():
        reading = nets["tokenizer"](batch["mel"])
    found = stage.loss("tokenizer", nets, batch, _step())
    assert found["mse"].item() == pytest.approx((reading.mel - batch["mel"]).square().mean().item())
    quantised = reading.quantised
    assert found["commitment"].item() == pytest.approx((reading.latents - quantised.latents).square().mean().item())
    by_clip = -torch.log_softmax(reading.logits, dim=1)[torch.arange(6), batch["label"]]
    assert found["class"].item() == pytest.approx(by_clip.mean().item())
    total = found["mse"] + 0.25 * found["commitment"] + 0.01 * found["class"]
    assert found["loss"].item() == pytest.approx(total.item())
    assert found["used_words"] == quantised.codes.unique().numel() and not found["perplexity"].requires_grad


def test_labels_are_read_only_for_a_class_head() -> None:
    assert _stage().reads == ("mel",) and _stage(class_weight=0.01).reads == ("mel", "label")
    stage = _stage()
    found = stage.loss("tokenizer", _built(stage), {"mel": _batch()["mel"]}, _step())
    assert "class" not in found and found["loss"] == found["mse"] + 0.25 * found["commitment"]


def test_the_class_moves_the_encoder_but_neither_words_nor_decoder() -> None:
    stage, batch = _stage(class_weight=0.01), _batch()
    nets = _built(stage)
    before = _state(nets)
    logits = nets["tokenizer"](batch["mel"]).logits
    F.cross_entropy(logits, batch["label"]).backward()
    with_gradient = {name for name, p in nets["tokenizer"].named_parameters() if p.grad is not None and p.grad.any()}
    assert {name.split(".")[0] for name in with_gradient} == {"encoder", "projection", "classes"}
    assert all(p.grad is None for p in nets["tokenizer"].decoder.parameters()) and not _changed(nets, before)


def test_the_class_is_read_before_the_words() -> None:
    stage, batch = _stage(class_weight=0.01), _batch()
    nets = _built(stage)
    logits = nets["tokenizer"](batch["mel"]).logits
    nets["tokenizer"].quantiser.codebook.mul_(-3).add_(1)
    assert torch.equal(nets["tokenizer"](batch["mel"]).logits, logits)


def test_only_training_teaches_codebook_and_texture() -> None:
    stage, batch = _stage(restart_after=1), _batch()
    nets = _built(stage)
    before = _state(nets)
    codes = stage.encode(nets.eval(), batch)
    with torch.no_grad():
        found = stage.validate(nets, batch, _step())
    assert not _changed(nets, before)
    assert codes.dtype == torch.int16 and codes.shape == (6, 20, 86)
    assert found["used_words"] == codes.unique().numel()
    assert stage.loss("tokenizer", nets.train(), batch, _step())["mse"].item() == pytest.approx(found["mse"].item())
    changed = _changed(nets, before)
    assert {"quantiser.codebook", "texture.squares", "texture.counts"} <= changed
    assert all(key.startswith(("quantiser", "texture")) for key in changed)


def test_codes_are_refused_in_training_mode() -> None:
    stage = _stage()
    with pytest.raises(AssertionError, match="evaluation mode"):
        stage.encode(_built(stage), _batch())


def test_error_is_in_log_mel_units_whatever_the_scale() -> None:
    stage, batch = _stage(scale={}), _batch()
    nets = _built(stage)
    for parameter in nets["tokenizer"].decoder.parameters():
        nn.init.zeros_(parameter)
    middle = (MelScale().low + MelScale().high) / 2
    expected = (batch["mel"] - middle).square().mean().item()
    assert stage.loss("tokenizer", nets, batch, _step())["mse"].item() == pytest.approx(expected, rel=1e-5)


def test_rate_and_schedule() -> None:
    stage = _stage(learning_rate=3e-3, schedule={"kind": "one_cycle"})
    assert stage.optimizer("tokenizer", _built(stage)).param_groups[0]["lr"] == 3e-3
    assert stage.learning_rate("tokenizer", _step(40, 80)) == OneCycle().factor(_step(40, 80))
    stage = _stage(schedule={"kind": "triangular", "half_period": 4})
    assert stage.learning_rate("tokenizer", _step(3)) == Triangular(half_period=4).factor(_step(3))
    assert _stage().learning_rate("tokenizer", _step(3)) == 1


def test_a_clip_without_a_grid_is_refused() -> None:
    with pytest.raises(UserError, match="80 bands and 43 frames cannot be halved"):
        TokenizerStage(TokenizerSettings(), MelSpec(), ClipSpec(seconds=0.5), 7)


def test_a_scale_that_cuts_off_the_floor_is_refused() -> None:
    with pytest.raises(UserError, match=r"does not hold log-mels from -11\.5129"):
        _stage(scale={"low": -8.0})


def test_half_precision_trains_nets_and_leaves_the_codebook_whole() -> None:
    stage, batch = _stage(class_weight=0.01, scale={}, learning_rate=1e-3), _batch()
    loop = Loop(stage, Training(steps=20, batch_size=6, precision="bf16"), _built(stage), Alone(torch.device("cpu")))
    losses = [loop.advance([batch])["tokenizer"] for _ in range(20)]
    assert losses[-1]["mse"] < losses[0]["mse"] and all(value.isfinite() for value in losses[-1].values())
    assert all(buffer.dtype in (torch.float32, torch.int64) for buffer in loop.nets.buffers())
    assert losses[0]["mse"].dtype == torch.float32


def test_training_goes_on_where_it_was_saved() -> None:
    stage, training = _stage(restart_after=2), Training(steps=6, batch_size=6, precision="float32")

    def loop() -> Loop:
        return Loop(stage, training, _built(stage), Alone(torch.device("cpu")))

    whole, first, second = loop(), loop(), loop()
    for seed in range(4):
        whole.advance([_batch(seed)])
    for seed in range(2):
        first.advance([_batch(seed)])
    second.nets.load_state_dict(first.nets.state_dict())
    second.restore(first.state(), first.random_state())
    for seed in range(2, 4):
        second.advance([_batch(seed)])
    torch.testing.assert_close(dict(second.nets.state_dict()), dict(whole.nets.state_dict()), rtol=0, atol=0)


def _loud_moments(clip: ClipSpec) -> Tensor:
    """Eight waves (8, T) of the built-in corpus, around their loudest samples: one of each class, and a second bark."""
    waves = []
    for index, name in enumerate((*DCASE7.names, "DogBark")):
        wave = torch.from_numpy(synthesise(name, index, seed=0))
        start = max(0, min(len(wave) - clip.num_samples, int(wave.abs().argmax()) - clip.num_samples // 4))
        waves.append(wave[start : start + clip.num_samples])
    return torch.stack(waves)


@pytest.mark.slow
def test_eight_clips_are_learned_by_heart() -> None:
    """At the published size a step on eight whole clips takes over two seconds of a processor, so clips and nets are small."""
    clip = ClipSpec(seconds=20 * 256 / 22_050)
    batch = {"mel": Mel(MelSpec())(_loud_moments(clip))}
    small = {"channels": 48, "kernels": (4, 8), "learning_rate": 2e-3, "restart_after": 10, "scale": {}}
    stage = TokenizerStage(TokenizerSettings.parse(small, "test"), MelSpec(), clip, 7)
    loop = Loop(stage, Training(steps=1500, batch_size=8), _built(stage), Alone(torch.device("cpu")))
    while loop.step < 1500 and loop.validate([batch])["mse"] > 0.048:
        for _ in range(50):
            loop.advance([batch])
    net = loop.nets.eval()["tokenizer"]
    with torch.no_grad():
        codes = net.encode(batch["mel"])
        assert F.mse_loss(net.decode(codes), batch["mel"]) < 0.05 < batch["mel"].var() / 50
    assert codes.shape == (8, 20, 5) and usage(codes, 512)[0] > 200
