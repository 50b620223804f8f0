"""VIFS: its losses against hand-made values, what its stage shows to whom, its sampler and its settings."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from foleyray import checkpoint
from foleyray.audio.mel import Mel
from foleyray.checkpoint import Card, Checkpoint
from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.modules.adversarial import feature_matching
from foleyray.stage import Batch, Step
from foleyray.system import load_sampler, read_config
from foleyray.systems.vifs.config import Config
from foleyray.systems.vifs.losses import divergence, strangeness
from foleyray.systems.vifs.posterior import Posterior
from foleyray.systems.vifs.prior import Normal
from foleyray.systems.vifs.sampler import VifsSampler
from foleyray.systems.vifs.stages import VifsStage, fresh, judged, levelled

SMALL = {
    "layout": {
        "hidden": 8,
        "posterior_layers": 2,
        "flows": 2,
        "flow_layers": 1,
        "prior_layers": 1,
        "frame_prior_layers": 1,
        "frame_prior_kernel": 3,
        "decoder": {"channels": 16, "residual_kernels": [3], "dilations": [[1]]},
    },
    "judges": {"width": 4},
    "segment": 2048,
    "training": {"vifs": {"steps": 10, "batch_size": 4}},
}


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Fresh nets draw their weights from the process's own random numbers."""
    torch.manual_seed(0)


def config(**changes: object) -> Config:
    return Config.parse(SMALL | changes, "test")


def batch(count: int = 4, seed: int = 0) -> Batch:
    wave = 0.1 * torch.randn(count, 88_200, generator=draws(seed))
    return {"wave": wave * torch.linspace(0.2, 1, count)[:, None], "label": torch.arange(count) % 7}


def step(index: int = 0, seed: int = 0) -> Step:
    return Step(index, 10, draws(seed))


def normal(mean: float, std: float, shape: tuple[int, ...] = (64, 8, 50)) -> Normal:
    return Normal(torch.full(shape, mean), torch.full(shape, std).log())


def posterior(like: Normal, seed: int = 0) -> Posterior:
    z = like.mean + like.log_std.exp() * torch.randn(like.mean.shape, generator=draws(seed))
    return Posterior(z, *like)


# Losses


def test_the_divergence_is_zero_in_expectation_where_prior_and_posterior_agree():
    like = normal(0.3, 0.7)
    found = posterior(like)
    assert divergence(found.z, found, like) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("mean", "std"), [(0.3, 1.4), (0.3, 0.35), (1.0, 0.7)])
def test_the_divergence_of_two_normals_is_the_closed_form(mean: float, std: float):
    """log(p / q) - 1/2 + (q^2 + (difference of means)^2) / (2 p^2); a doubled deviation adds log 2 - 3/8."""
    found = posterior(normal(0.3, 0.7))
    closed = torch.tensor(std / 0.7).log() - 0.5 + (0.7**2 + (mean - 0.3) ** 2) / (2 * std**2)
    assert divergence(found.z, found, normal(mean, std)) == pytest.approx(float(closed), abs=0.03) and closed > 0


def test_the_divergence_is_a_mean_of_any_size():
    small, large = (posterior(normal(0, 1, shape)) for shape in ((4, 8, 50), (64, 8, 50)))
    of = [float(divergence(one.z, one, normal(1, 1, tuple(one.z.shape)))) for one in (small, large)]
    assert of[0] == pytest.approx(of[1], abs=0.1)


@pytest.mark.parametrize("moments", ["scalar", "per_dim", "mmd"])
def test_pooled_vectors_are_strange_where_they_are_not_normal_noise(moments: str):
    noise = torch.randn(256, 16, generator=draws(1))
    least = strangeness(noise, moments, draws())
    assert float(least) < 0.02
    for other in (noise + 1, 2 * noise, 0.3 * noise):
        assert strangeness(other, moments, draws()) > least + 0.1


def test_only_the_scalar_moments_overlook_a_difference_between_dimensions():
    spread = torch.randn(256, 16, generator=draws(1)) * 0.2
    shifted = spread + torch.tensor([-1.0, 1.0]).repeat(8) * (1 - 0.2**2) ** 0.5
    assert strangeness(shifted, "scalar", draws()) < 1e-3
    assert strangeness(shifted, "per_dim", draws()) > 1 and strangeness(shifted, "mmd", draws()) > 0.1


def test_one_vector_alone_has_a_gradient():
    summary = torch.ones(1, 4, requires_grad=True)
    for moments in ("scalar", "per_dim"):
        strangeness(summary, moments, draws()).backward()
    assert summary.grad is not None and bool(summary.grad.isfinite().all())


# What is shown to whom


def test_every_clip_has_the_same_peak_and_silence_stays():
    wave = torch.cat([batch()["wave"], torch.zeros(1, 88_200)])
    peaks = levelled(wave, 0.95).abs().amax(1)
    assert torch.allclose(peaks, torch.tensor([0.95] * 4 + [0.0]))


def test_a_piece_of_the_wave_lies_under_its_latents():
    """The latent of frame i goes with the samples from i * hop."""
    stage = VifsStage(config(), 7)
    wave = torch.arange(88_200.0).repeat(3, 1)
    z = (256 * torch.arange(344.0)).repeat(3, 8, 1)
    real, latents = stage._cut(wave, z, draws(5))
    assert real.shape == (3, 2048) and latents.shape == (3, 8, 8)
    assert torch.equal(real[:, ::256], latents[:, 0]) and torch.equal(latents[:, 0], latents[:, 7])
    assert len(set(real[:, 0].tolist())) == 3, "each clip has a place of its own"
    begins = torch.cat([stage._cut(wave, z, draws(seed))[0][:, 0] / 256 for seed in range(300)])
    assert begins.min() == 0 and begins.max() == 88_200 // 256 - 8


def test_real_and_made_are_turned_alike_and_the_lower_rates_not_at_all():
    stage = VifsStage(config(), 7)
    real = levelled(batch()["wave"], 0.95)[:, :2048]
    lower = [torch.randn(4, 512), torch.randn(4, 1024)]
    turned, seen = stage._turned(real, [*lower, real.clone()], step())
    assert torch.allclose(turned, seen[-1], atol=1e-6) and not torch.allclose(turned, real, atol=1e-2)
    assert seen[0] is lower[0] and seen[1] is lower[1]
    plain = VifsStage(config(judges={"width": 4, "phase_aug": False}), 7)
    assert plain._turned(real, [*lower, real], step())[0] is real


def test_there_are_seven_judgements_and_the_decoders_own_waves_are_judged_beside_the_bands():
    nets = VifsStage(config(), 7).build({})
    full, lower = torch.randn(4, 2048), [torch.randn(4, 512), torch.randn(4, 1024)]
    alone, together = judged(nets, full), judged(nets, *lower, full)
    assert [len(score) for score, _ in alone] == [4] * 7
    assert [len(score) for score, _ in together] == [8, 8, 4, 4, 4, 4, 4]
    for (score, _), (both, _) in zip(alone[:2], together[:2], strict=True):
        assert torch.allclose(both[4:], score, atol=1e-5), "the bands come after the decoder's own"


def test_each_of_several_made_waves_is_matched_with_its_own_real_one():
    nets = VifsStage(config(), 7).build({})
    real = torch.randn(4, 2048)
    with torch.no_grad():
        of_real = judged(nets, real)
        tiled = [(score.repeat(2, 1), [feature.repeat(2, 1, 1) for feature in features]) for score, features in of_real]
    assert feature_matching(of_real, tiled) == 0
    mixed = [(score, [feature.repeat_interleave(2, 0) for feature in features]) for score, features in of_real]
    assert feature_matching(of_real, mixed) > 0.01, "another order would compare strangers"


# The stage


def test_the_turns_reach_their_own_nets_and_the_whole_of_them():
    stage = VifsStage(config(), 7)
    nets, moment = stage.build({}), step()
    for net in nets["synthesizer"].modules():  # a fresh flow is silent: its last convolutions are zero
        if isinstance(net, nn.Conv1d) and not net.weight.any():
            nn.init.normal_(net.weight, std=0.1)
    losses = stage.loss("synthesizer", nets, batch(), moment)
    losses["loss"].backward()
    silent = [name for name, p in nets["synthesizer"].named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    nets.zero_grad()
    stage.loss("discriminators", nets, batch(), moment)["loss"].backward()
    assert all(p.grad is None for p in nets["synthesizer"].parameters())
    assert all(p.grad is not None for name in ("bands", "subbands") for p in nets[name].parameters())
    assert not moment.memo


def test_the_loss_is_the_weighted_sum():
    stage = VifsStage(config(), 7)
    losses = stage.loss("synthesizer", stage.build({}), batch(), step())
    weighted = 15 * losses["mel"] + 10 * losses["kl"] + losses["sap"] + 2 * losses["features"] + losses["adversarial"]
    assert torch.isclose(losses["loss"], weighted)


def test_gradients_of_the_synthesizer_are_clipped_by_value_and_those_of_the_judges_not():
    stage = VifsStage(config(learning_rate=1e-9), 7)
    nets = stage.build({})
    for turn, most in (("synthesizer", 0.5), ("discriminators", 7.0)):
        optimizer = stage.optimizer(turn, nets)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, -7.0)
        optimizer.step()
        assert all(float(p.grad.abs().max()) == most for p in parameters)


def test_the_learning_rate_falls_by_the_papers_epochs():
    stage = VifsStage(config(), 7)
    assert stage.learning_rate("synthesizer", step(19)) == pytest.approx(0.999875)
    assert stage.learning_rate("synthesizer", step(19 * 100)) == pytest.approx(0.999875**100)


@pytest.mark.slow
def test_one_clip_is_learned_with_the_discriminators_on():
    """Sheet: mel L1 below 0.3 within 2,000 steps, at the paper's size; here far smaller nets and a few hundred."""
    layout = SMALL["layout"] | {
        "hidden": 32,
        "decoder": {"channels": 64, "residual_kernels": [3, 7], "dilations": [[1, 3]] * 2},
    }
    stage = VifsStage(config(layout=layout, mel_weight=45.0, learning_rate=2e-3, betas=(0.8, 0.99)), 7)
    nets = stage.build({})
    time = torch.arange(88_200) / 22_050
    beats = torch.sin(2 * torch.pi * 440 * time) * torch.exp(-4 * (time % 0.5))
    wave = 0.5 * beats + 0.02 * torch.randn(88_200, generator=draws())
    one = {"wave": wave.repeat(2, 1), "label": torch.zeros(2, dtype=torch.long)}
    optimizers = {turn: stage.optimizer(turn, nets) for turn in stage.turns}
    errors = []
    for index in range(60):
        moment = step(index, seed=index)
        for turn, optimizer in optimizers.items():
            losses = stage.loss(turn, nets, one, moment)
            nets.zero_grad()
            losses["loss"].backward()
            optimizer.step()
            if turn == "synthesizer":
                errors.append(losses["mel"].item())
    assert sum(errors[-10:]) / 10 < 0.5 * errors[0]


# The sampler


def saved(folder: Path, made: Config) -> Checkpoint:
    stage = VifsStage(made, 7)
    nets = stage.build({})
    with torch.no_grad():
        for parameter in nets.parameters():  # loud enough to tell clips apart
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draws(3)))
    card = Card(
        system="vifs",
        stage="vifs",
        run="0" * 8,
        config=made.model_dump(mode="json"),
        mel_id=made.mel.id,
        classes=DCASE7,
        step=1,
        corpus="0" * 8,
        version="0",
        commit="",
    )
    return checkpoint.save(folder / "vifs" / ("0" * 8), card, nets.state_dict(), None, {})


@pytest.fixture
def sampler(tmp_path: Path) -> VifsSampler:
    found = load_sampler({"vifs": saved(tmp_path, config())}, torch.device("cpu"))
    assert isinstance(found, VifsSampler)
    return found


def sound(sampler: VifsSampler, labels: list[int], seeds: list[int], **params: float | str) -> Tensor:
    return sampler.sample(torch.tensor(labels), [sampler.params(**params)] * len(labels), seeds)


def test_a_clip_is_as_long_as_asked_and_its_end_is_silent(sampler: VifsSampler):
    """344 frames are 88,064 samples; the rest of four seconds is zeros."""
    wave = sound(sampler, [0, 3], [1, 2])
    assert wave.shape == (2, 88_200) and wave.abs().max() <= 1
    assert not wave[:, 88_064:].any() and wave[:, 88_000:88_064].any()


def test_without_noise_the_vector_alone_decides(sampler: VifsSampler):
    quiet = [sampler.params(noise_scale=0.25, sap_scale=0.0), sampler.params(noise_scale=0.25, sap_scale=0.0)]
    assert not torch.equal(*sampler.sample(torch.tensor([1, 1]), quiet, [4, 5])), "frames have noise of their own"
    assert not torch.equal(sound(sampler, [1], [4], sap_scale=0.0), sound(sampler, [1], [4], sap_scale=1.0))
    assert not torch.equal(sound(sampler, [1], [4]), sound(sampler, [2], [4]))


def test_more_noise_makes_clips_of_a_class_more_different(sampler: VifsSampler):
    mel = Mel(config().mel)
    spreads = []
    for noise_scale in (0.25, 0.7, 1.5):
        made = mel(sound(sampler, [1] * 6, list(range(6)), noise_scale=noise_scale, sap_scale=0.0))
        spreads.append(float(made.var(0).mean()))
    assert spreads == sorted(spreads)


def test_bf16_is_coarser_and_no_part_of_a_batch_in_float32(sampler: VifsSampler):
    mel = Mel(config().mel)
    fine, coarse = sound(sampler, [1], [4]), sound(sampler, [1], [4], precision="bf16")
    assert not torch.equal(fine, coarse)
    assert (mel(fine) - mel(coarse)).abs().mean() < 0.05
    assert torch.equal(sound(sampler, [1], [4]), fine), "the other copy stays as it is"
    with pytest.raises(ValueError, match="agree on 'precision'"):
        sampler.sample(torch.tensor([1, 1]), [sampler.params(), sampler.params(precision="bf16")], [4, 5])


def test_class_vectors_are_those_of_the_trained_table(sampler: VifsSampler):
    vectors = sampler.class_vectors()
    assert vectors.shape == (7, 8) and vectors.dtype == torch.float32 and len(vectors.unique(dim=0)) == 7


def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path):
    small = saved(tmp_path, config())
    wide = config(layout=SMALL["layout"] | {"hidden": 16})
    (small.path / "card.json").write_text(
        small.card.model_copy(update={"config": wide.model_dump(mode="json")}).model_dump_json()
    )
    with pytest.raises(UserError, match="does not fit the synthesizer of its config"):
        load_sampler({"vifs": checkpoint.load(small.path)}, torch.device("cpu"))


# Settings


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"training": {}}, "training must have the stage 'vifs', found"),
        ({"segment": 2000}, "segment 2000 must be a multiple of"),
        ({"segment": 88_064 + 256}, "and at most the clip's"),
        ({"judges": {"width": 6}}, "multiple of 4"),
        ({"clip": {"sample_rate_hz": 16_000}}, "of the same rate"),
        ({"layout": {"decoder": {"rates": [8, 4, 2, 2], "kernels": [16, 8, 4, 4]}}}, "hop of 256"),
        ({"sap_moments": "third"}, "sap_moments"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, object], sentence: str):
    with pytest.raises(UserError, match=sentence):
        config(**change)


def test_the_shipped_configs_are_read_and_the_papers_has_the_papers_sizes():
    _, tiny = read_config("systems/vifs/tiny.yaml")
    _, paper = read_config("systems/vifs/paper.yaml")
    assert isinstance(tiny, Config) and isinstance(paper, Config)
    with torch.device("meta"):
        assert sum(p.numel() for p in fresh(paper, 7).parameters()) == 64_937_600
    assert paper.judges.width == 16, "27,072,318 parameters, see the tests of the discriminators"
    assert (paper.frames, paper.bins, paper.segment, paper.mel_weight, paper.kl_weight) == (344, 513, 8192, 15.0, 10.0)
