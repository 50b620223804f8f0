"""The parts of the latent diffusion: tuning, conditions, denoiser, schedule, guidance, solvers and autoencoder."""

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import nn

from foleyray.clips import DCASE7, ClipSpec, MelSpec
from foleyray.config import UserError
from foleyray.stage import Step
from foleyray.system import find, read_config
from foleyray.systems.ldm.conditions import LabelCondition, TextCondition, forget_some
from foleyray.systems.ldm.denoiser import Denoiser, DenoiserSettings
from foleyray.systems.ldm.diffusion import TIMES, Noising, denoised, guided, scheduler
from foleyray.systems.ldm.diffusion_stages import FinetuneStage
from foleyray.systems.ldm.front import Front
from foleyray.systems.ldm.texture import Texture
from foleyray.systems.ldm.tuning import TuningLayer, TuningSettings
from foleyray.systems.ldm.vae import JudgeSettings, MelVae, VaeSettings
from foleyray.systems.ldm.vae_stage import VaeStage
from tests.ensembles import SMALLER_WORDS, WORDS

SMALL = DenoiserSettings(
    widths=(8, 16, 16, 16), blocks=1, attention=(False, True, True, True), heads=2, groups=4, condition_width=16
)
FRONT = MelSpec(sample_rate_hz=16_000, fft=1024, hop=160, window=1024, bands=64, high_hz=8_000)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def seeded(seed=0):
    torch.manual_seed(seed)


@pytest.mark.parametrize("per_class", [False, True])
def test_the_tuning_layer_begins_as_the_identity_plus_its_bias(per_class):
    seeded()
    text, label = torch.randn(5, 16), torch.tensor([0, 1, 2, 1, 0])
    layer = TuningLayer(TuningSettings(per_class=per_class), 16, 3)
    bias = layer.bias[label] if per_class else layer.bias.expand(5, -1)
    assert torch.allclose(layer(text, label) - text, bias, atol=1e-6) and 0.005 < layer.bias.std() < 0.015
    assert torch.equal(TuningLayer(TuningSettings(std=0, per_class=per_class), 16, 3)(text, label), text)
    renormed = TuningLayer(TuningSettings(renorm=True, per_class=per_class), 16, 3)(text, label)
    assert torch.allclose(renormed.norm(dim=1), torch.ones(5))


def test_the_papers_tuning_layer_has_its_size():
    assert sum(parameter.numel() for parameter in TuningLayer(TuningSettings(), 512, 7).parameters()) == 262_656


def test_a_gradient_reaches_weight_and_bias_of_the_tuning_layer_and_no_text():
    sentences = torch.randn(3, 16)
    condition = TextCondition(sentences.clone(), torch.randn(16), TuningLayer(TuningSettings(), 16, 3))
    condition(torch.tensor([0, 2])).square().sum().backward()
    assert [name for name, _ in condition.named_parameters()] == ["tuning.weight", "tuning.bias"]
    assert all(parameter.grad.abs().sum() > 0 for parameter in condition.parameters())
    assert torch.equal(condition.sentences, sentences) and not condition.sentences.requires_grad


def test_the_condition_of_nothing_is_never_tuned():
    seeded()
    empty = torch.randn(16)
    condition = TextCondition(torch.randn(3, 16), empty, TuningLayer(TuningSettings(), 16, 3))
    assert torch.equal(condition.unconditional, empty)
    assert not torch.equal(condition(torch.tensor([0]))[0], condition.sentences[0])
    labels = LabelCondition(3, 16)
    assert torch.equal(labels.unconditional, labels.table.weight[3]) and labels(torch.tensor([2])).shape == (1, 16)


def test_a_tenth_of_the_conditions_is_forgotten():
    kept, nothing = torch.ones(20_000, 2), torch.zeros(2)
    forgotten = (forget_some(kept, nothing, 0.1, draws())[:, 0] == 0).float().mean()
    assert 0.09 < forgotten < 0.11


class Heard(nn.Module):
    """Stands at the denoiser's place and keeps the conditions it was told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def forward(self, latents, time, condition):
        self.told.append(condition)
        return latents


def test_conditions_are_forgotten_in_training_alone():
    _, config = read_config(WORDS, SMALLER_WORDS)
    stage = FinetuneStage(config, DCASE7)
    nets = stage.blank()
    condition = TextCondition(torch.ones(7, 16), torch.zeros(16), None)
    nets["denoiser"], nets["condition"] = Heard(), condition
    batch = {"latents": torch.zeros(2_000, *config.grid[:1], 2, 2), "label": torch.zeros(2_000, dtype=torch.long)}
    step = Step(0, 1, draws())
    stage.loss("ldm_finetune", nets.train(), batch, step)
    stage.loss("ldm_finetune", nets.eval(), batch, step)
    stage.validate(nets.train(), batch, step)
    shares = [float((told[:, 0] == 0).float().mean()) for told in nets["denoiser"].told]
    assert 0.07 < shares[0] < 0.13 and not any(shares[1:])


@pytest.mark.parametrize(("size", "padded"), [((86, 20), (88, 24)), ((100, 16), (104, 16))])
def test_latents_are_padded_to_what_the_levels_halve_and_cropped_again(size, padded):
    seeded()
    denoiser = Denoiser(SMALL, 2).eval()
    latents = torch.randn(1, 2, *size)
    wide = denoiser.pad(latents)
    top, left = (padded[0] - size[0]) // 2, (padded[1] - size[1]) // 2
    assert wide.shape[2:] == padded
    assert torch.equal(wide[:, :, top : top + size[0], left : left + size[1]], latents)
    assert wide.abs().sum() == pytest.approx(float(latents.abs().sum()), rel=1e-5), "what is added is zero"
    with torch.no_grad():
        assert denoiser(latents, torch.tensor([7]), torch.randn(1, 16)).shape == latents.shape


@torch.no_grad()
def test_the_condition_is_heard_until_its_weights_are_zero():
    seeded()
    denoiser = Denoiser(SMALL, 2).eval()
    latents, time = torch.randn(1, 2, 16, 8).expand(2, -1, -1, -1), torch.tensor([500, 500])
    one, other = denoiser(latents, time, torch.randn(2, 16))
    assert (one - other).abs().max() > 1e-3
    for parameter in denoiser.net.class_embedding.parameters():
        parameter.zero_()
    one, other = denoiser(latents, time, torch.randn(2, 16))
    assert torch.equal(one, other)


def test_film_makes_residual_blocks_take_eight_widths():
    block = Denoiser(SMALL, 2).net.down_blocks[0].resnets[0]
    assert block.time_emb_proj.in_features == 8 * SMALL.widths[0]
    attention = Denoiser(SMALL, 2).net.down_blocks[1].attentions[0].transformer_blocks[0].attn2
    assert attention.to_k.in_features == SMALL.widths[1], "attention is to itself"


@pytest.mark.parametrize("solver", ["dpm", "ddim"])
def test_the_schedule_is_audioldms(solver):
    schedule = scheduler(solver)
    assert schedule.alphas_cumprod[0] == pytest.approx(0.9985, abs=1e-4)
    assert schedule.alphas_cumprod[TIMES - 1] == pytest.approx(1.423e-4, rel=1e-3)


def test_validation_asks_at_times_spread_over_the_whole_schedule():
    asked = []

    def listen(latents, time, condition):
        asked.extend(time.tolist())
        return latents

    Noising().checked_error(listen, torch.zeros(5, 1, 2, 2), torch.zeros(5, 4), draws())
    assert sorted(time // 50 for time in asked) == list(range(20))


def small_denoiser():
    seeded()
    return Denoiser(SMALL, 2).eval()


@torch.inference_mode()
def test_guidance_is_the_unconditional_noise_at_0_and_the_conditional_at_1():
    denoiser, latents = small_denoiser(), torch.randn(1, 2, 16, 8)
    condition, nothing = torch.randn(1, 16), torch.randn(16)
    time = torch.tensor([300])
    with_it, without = denoiser(latents, time, condition), denoiser(latents, time, nothing[None])
    for weight, wanted in ((0.0, without), (1.0, with_it), (2.5, without + 2.5 * (with_it - without))):
        found = guided(denoiser, condition, nothing, torch.tensor([weight]))(latents, 300)
        assert torch.allclose(found, wanted, atol=1e-5), weight
    assert (with_it - without).abs().max() > 1e-3


@torch.inference_mode()
def test_a_clip_without_guidance_may_ride_along_with_one_that_has_some():
    denoiser, latents = small_denoiser(), torch.randn(2, 2, 16, 8)
    condition, nothing = torch.randn(2, 16), torch.randn(16)
    together = guided(denoiser, condition, nothing, torch.tensor([1.0, 3.0]))(latents, 300)
    alone = guided(denoiser, condition[:1], nothing, torch.tensor([1.0]))(latents[:1], 300)
    assert torch.allclose(together[:1], alone, atol=1e-5)


def test_no_second_pass_without_guidance():
    denoiser = Heard()
    predict = guided(denoiser, torch.ones(3, 16), torch.zeros(16), torch.ones(3))
    predict(torch.zeros(3, 2, 4, 4), 10)
    assert len(denoiser.told[0]) == 3


@torch.inference_mode()
def test_our_ddim_is_diffusers_for_one_clip():
    predict = guided(small_denoiser(), torch.randn(1, 16), torch.zeros(16), torch.tensor([2.5]))
    noise = torch.randn(1, 2, 16, 8)
    schedule = DDIMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    schedule.set_timesteps(7)
    wanted, generator = noise, draws(3)
    for time in schedule.timesteps:
        wanted = schedule.step(predict(wanted, int(time)), time, wanted, eta=0.7, generator=generator).prev_sample
    assert torch.equal(denoised(predict, noise, solver="ddim", steps=7, eta=0.7, draws=[draws(3)]), wanted)


@torch.inference_mode()
def test_our_dpm_solver_is_diffusers_for_one_clip():
    predict = guided(small_denoiser(), torch.randn(1, 16), torch.zeros(16), torch.tensor([2.5]))
    noise = torch.randn(1, 2, 16, 8)
    schedule = DPMSolverMultistepScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear")
    schedule.set_timesteps(7)
    wanted = noise
    for time in schedule.timesteps:
        wanted = schedule.step(predict(wanted, int(time)), time, wanted).prev_sample
    assert torch.equal(denoised(predict, noise, solver="dpm", steps=7, eta=1.0, draws=[draws(3)]), wanted)


@torch.inference_mode()
def test_only_ddim_with_eta_draws_noise_on_its_way():
    predict = guided(small_denoiser(), torch.randn(1, 16), torch.zeros(16), torch.tensor([1.0]))
    noise = torch.randn(1, 2, 16, 8)

    def found(solver, eta, seed):
        return denoised(predict, noise, solver=solver, steps=5, eta=eta, draws=[draws(seed)])

    assert torch.equal(found("ddim", 0.0, 1), found("ddim", 0.0, 2))
    assert not torch.equal(found("ddim", 1.0, 1), found("ddim", 1.0, 2))
    assert torch.equal(found("ddim", 1.0, 1), found("ddim", 1.0, 1))
    assert torch.equal(found("dpm", 1.0, 1), found("dpm", 0.0, 2))


@pytest.mark.parametrize("solver", ["dpm", "ddim"])
@pytest.mark.parametrize("steps", [1, 6])
def test_an_oracle_leads_back_to_the_latent(solver, steps):
    seeded()
    latent, alphas = torch.randn(1, 2, 8, 8), scheduler(solver).alphas_cumprod

    def oracle(noisy, time):
        return (noisy - alphas[time].sqrt() * latent) / (1 - alphas[time]).sqrt()

    found = denoised(oracle, torch.randn(1, 2, 8, 8), solver=solver, steps=steps, eta=0.0, draws=[draws()])
    assert torch.allclose(found, latent, atol=1e-3)


def mels(count=6, bands=80, frames=344, seed=0):
    """Log-mels that are smooth in both directions, between the floor and the loudest."""
    coarse = torch.randn(count, 1, bands // 8, frames // 8, generator=draws(seed))
    smooth = nn.functional.interpolate(coarse, (bands, frames), mode="bilinear")[:, 0]
    return (3 * smooth - 5).clamp(-11.5, 2)


def vae_stage(*overrides):
    _, config = read_config(WORDS, [*SMALLER_WORDS, *overrides])
    return VaeStage(config)


def trained_vae(stage, batch, steps=60):
    seeded()
    nets, generator = stage.build({}), draws()
    optimizer = torch.optim.Adam(nets["vae"].parameters(), 5e-3)
    for index in range(steps):
        optimizer.zero_grad()
        losses = stage.loss("vae", nets, batch, Step(index, steps, generator))
        losses["loss"].backward()
        optimizer.step()
    return nets.eval(), losses


def test_a_trained_vae_has_latents_of_spread_one_and_finds_the_mel_again():
    stage, batch = vae_stage("vae.kl_weight=0.001", "vae.scale={}"), {"mel": mels()}
    nets, losses = trained_vae(stage, batch)
    with torch.no_grad():
        latents = stage.encode(nets, batch)
        found = nets["vae"].decode(latents)
    assert latents.shape == (6, 2, 43, 10) and latents.dtype == torch.float32
    assert float(latents.std()) == pytest.approx(1, abs=0.25)
    assert (nets["vae"].std - 1).abs() > 0.05, "the scale was measured"
    untrained = stage.build({}).eval()
    with torch.no_grad():
        before = (untrained["vae"].decode(stage.encode(untrained, batch)) - batch["mel"]).abs().mean()
    assert (found - batch["mel"]).abs().mean() < 0.5 * before and losses["error"] < 0.5 * before


def test_the_texture_learns_how_far_clips_lie_from_what_is_decoded():
    """Of latents that say how loud the noise is, and nothing of the noise itself."""
    seeded()
    texture = Texture(channels=2, width=16, factor=4, bands=24, frames=38)
    optimizer = torch.optim.Adam(texture.parameters(), 1e-2)

    def batch(generator):
        spread = torch.rand(16, 1, 10, 6, generator=generator) + 0.2
        cells = spread[:, 0].repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :38].transpose(1, 2)
        return torch.cat([spread, torch.ones_like(spread)], dim=1), cells

    generator = draws()
    for _ in range(300):
        latents, cells = batch(generator)
        optimizer.zero_grad()
        texture.loss(latents, cells * torch.randn(cells.shape, generator=generator)).backward()
        optimizer.step()
    latents, cells = batch(generator)
    found = texture(latents.requires_grad_()).exp()
    assert found.shape == cells.shape == (16, 24, 38)
    assert (found / cells).log().abs().mean() < 0.15
    texture.loss(latents, found).backward()
    assert latents.grad is None, "what is put back teaches no encoder"


def test_the_texture_leaves_the_autoencoder_alone():
    stage, batch = vae_stage(), {"mel": mels()}
    seeded()
    nets = stage.build({})
    vae = nets["vae"]
    posterior = vae.posterior(batch["mel"])
    latents = posterior.sample(draws())
    vae.texture.loss(latents, batch["mel"] - vae.reconstruction(latents)).backward()
    assert all(parameter.grad is None for parameter in vae.net.parameters())
    assert all(parameter.grad is not None for parameter in vae.texture.parameters())
    plain, rough = vae.decode(latents.detach()), vae.spread(latents.detach())
    assert rough.shape == plain.shape and bool((rough > 0).all())
    strange = vae.spread(1e4 * latents.detach())
    assert strange.max() <= 3.01, "latents that no clip has must not become sounds that are no numbers"


def test_the_scale_is_a_buffer_that_a_restart_finds_again():
    stage = vae_stage()
    nets = stage.build({})
    vae = nets["vae"]
    assert float(vae.std) == 1
    for factor in (1.0, 3.0):
        vae.measure(factor * torch.randn(4, 2, 43, 10, generator=draws()))
    assert float(vae.std) == pytest.approx(5**0.5, rel=0.05), "at first a plain mean of the squares"
    again = stage.build({})
    again.load_state_dict(nets.state_dict())
    assert torch.equal(again["vae"].std, vae.std)
    assert torch.equal(again["vae"].decode(torch.ones(1, 2, 43, 10)), vae.reconstruction(vae.std.expand(1, 2, 43, 10)))


@pytest.mark.parametrize(("bands", "frames", "grid"), [(80, 344, (8, 86, 20)), (64, 400, (8, 100, 16)), (30, 41, (8, 11, 8))])
@torch.no_grad()
def test_a_mel_of_any_size_has_a_latent_and_comes_back(bands, frames, grid):
    settings = VaeSettings(widths=(8, 8, 8), blocks=1, groups=4)
    assert settings.factor == 4 and settings.grid(bands, frames) == grid
    vae = MelVae(settings, bands, frames)
    latents = vae.encode(torch.randn(2, bands, frames))
    assert latents.shape == (2, *grid) and vae.decode(latents).shape == (2, bands, frames)


def test_the_judge_counts_and_learns_from_its_step_on():
    stage = vae_stage()
    stage.settings = stage.settings.model_copy(update={"judge": JudgeSettings(width=4, begin=5)})
    stage.turns = {"vae": ("vae",), "judge": ("judge",)}
    seeded()
    nets, batch = stage.build({}), {"mel": mels(2)}
    for index, is_counted in ((4, False), (5, True)):
        step = Step(index, 10, draws())
        losses = stage.loss("vae", nets, batch, step)
        judged = stage.loss("judge", nets, batch, step)
        judged["loss"].backward()
        reached = any(parameter.grad.any() for parameter in nets["judge"].parameters())
        assert ("adversarial" in losses) is ("on_real" in judged) is reached is is_counted
        nets.zero_grad()
    values = {name: value.item() for name, value in losses.items()}
    before = values["loss"] - values["judge_weight"] * values["adversarial"] - values["texture"]
    assert before == pytest.approx(values["error"] + values["divergence"], rel=1e-4)


def test_another_front_end_hears_the_resampled_wave():
    clip = ClipSpec()
    wave = torch.sin(2 * torch.pi * 1_000 * torch.arange(clip.num_samples) / clip.sample_rate_hz)[None]
    front = Front(clip, MelSpec(), FRONT)
    mel = front.log_mel({"wave": wave})
    assert front.reads == ("wave",) and front.num_samples == 64_000 and mel.shape == (1, 64, 400)
    straight = torch.sin(2 * torch.pi * 1_000 * torch.arange(64_000) / 16_000)[None]
    loud = mel[0, :, 50:350].mean(dim=1).argmax()
    assert loud == front.mel(straight)[0, :, 50:350].mean(dim=1).argmax()
    own = Front(clip, MelSpec(), None)
    assert own.reads == ("mel",) and torch.equal(own.log_mel({"mel": mel}), mel)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["denoiser.widths=[8, 8, 8]"], "as many levels"),
        (["denoiser.groups=3"], "groups 3 must divide"),
        (["denoiser.heads=3"], r"heads \[3, 3\] must divide"),
        (["vae.groups=3"], "groups 3 must divide"),
        (["vae.scale.low=-5"], "mel scale"),
        (["vocoder={kind: hifigan}"], "training must have the stages"),
        (["pretrained=true", "training.ldm_pretrain={steps: 1}"], "batch_size"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        read_config(WORDS, [*SMALLER_WORDS, *overrides])


def test_a_neural_vocoder_of_the_corpus_is_refused_beside_another_front_end():
    front = f"front={FRONT.model_dump()}"
    with pytest.raises(UserError, match=r"hifigan is trained on the corpus's own mel"):
        read_config(WORDS, [*SMALLER_WORDS, front, "vocoder={kind: hifigan}", "training.vocoder={steps: 1, batch_size: 1}"])


def test_a_clap_of_another_width_is_refused_in_a_sentence():
    system, config = read_config(WORDS, [*SMALLER_WORDS, "clap.dim=8"])
    nets = {}
    with pytest.raises(UserError, match=r"have 8 numbers, the denoiser takes 16; set denoiser\.condition_width=8"):
        for stage in system.stages(config, DCASE7):
            nets[stage.name] = stage.build({name: nets[name] for name in stage.needs})


@pytest.mark.parametrize(("name", "grid", "million"), [("paper_s", (8, 86, 20), 185), ("paper_l", (8, 100, 16), 415)])
def test_the_papers_sizes(name, grid, million):
    system, config = read_config(f"systems/ldm/{name}.yaml")
    assert config.grid == grid and system is find("ldm")
    assert system.samples_from(config) == ("vocoder", "clap", "vae", "ldm_finetune")
    with torch.device("meta"):
        denoiser, vae = Denoiser(config.denoiser, config.grid[0]), MelVae(config.vae, 80, 344)
    assert sum(p.numel() for p in denoiser.parameters()) / 1e6 == pytest.approx(million, rel=0.03)
    assert sum(p.numel() for p in vae.parameters()) / 1e6 == pytest.approx(55, rel=0.03)
    assert isinstance(vae.net.encoder.mid_block.attentions[0], nn.Module)
