"""The contrastive GAN: its losses against hand-made values, its nets against their published sizes, its sampler."""

from math import log
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray import checkpoint
from foleyray.checkpoint import Card, Checkpoint
from foleyray.clips import DCASE7, MelSpec
from foleyray.config import UserError
from foleyray.modules.scaling import MelScale
from foleyray.stage import Batch, Step
from foleyray.system import load_sampler, read_config
from foleyray.systems.contrastive_gan import SYSTEM, losses
from foleyray.systems.contrastive_gan.augment import Augmenter, shift
from foleyray.systems.contrastive_gan.config import Augment, Config, DiscriminatorLayout, Encoder, GeneratorLayout
from foleyray.systems.contrastive_gan.encoder import ResNetEncoder
from foleyray.systems.contrastive_gan.nets import Discriminator, DownConv, Generator, UpConv
from foleyray.systems.contrastive_gan.sampler import ContrastiveGanSampler, stand
from foleyray.systems.contrastive_gan.stages import EncoderStage, GanStage, build_generator, stages

SHAPE = (80, 344)
CONTRASTS = ("2c", "o2c", "csupcon", "oc-supcon")


def _draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Fresh nets draw their weights from the process's own random numbers."""
    torch.manual_seed(0)


def _units(count: int, seed: int, size: int = 128) -> Tensor:
    return F.normalize(torch.randn(count, size, generator=_draws(seed), dtype=torch.float32), dim=1)


def _contrastive(
    embedding: Tensor,
    proxy: Tensor,
    label: Tensor,
    contrast: str,
    source: Tensor | None = None,
    tau: tuple[float, float] = (0.1, 0.1),
) -> Tensor:
    source = source if "supcon" in contrast else None
    return losses.contrastive(
        embedding, proxy, label, source, oneself=contrast in ("o2c", "oc-supcon"), tau_d=tau[0], tau_c=tau[1]
    )


def _config(**changes: object) -> Config:
    small = {"width": 4, "fold": 1, "max_channels": 16}
    values: dict[str, object] = {
        "generator": small | {"speckle": True, "latent": 20},
        "discriminator": small | {"strided": True},
        "encoder": {"hidden": (8, 16)},
        "training": {stage: {"steps": 10, "batch_size": 14, "average": 0.9} for stage in ("encoder", "gan")},
    }
    return Config.parse(values | changes, "test")


def _with_neural_vocoder(contrast: str = "o2c", **sizes: object) -> Config:
    small = {"channels": 16, "rates": (8, 8, 4), "kernels": (16, 16, 8), "resblock": 2}
    layout = small | {"residual_kernels": (3,), "dilations": ((1, 3),)} | sizes
    training = {stage: {"steps": 10, "batch_size": 7} for stage in ("encoder", "vocoder", "gan")}
    return _config(contrast=contrast, vocoder={"kind": "hifigan", "layout": layout, "judges": ()}, training=training)


def _batch(seed: int = 0) -> Batch:
    mel = torch.rand(14, *SHAPE, generator=_draws(seed)) * 13 - 11.5
    return {"mel": mel, "label": torch.arange(14) % 7}


def _step() -> Step:
    return Step(0, 10, _draws())


# The losses


@pytest.mark.parametrize(("tau_c", "expected"), [(0.1, 4.159), (1.0, 13.143)])
def test_contrast_of_equal_embeddings(tau_c: float, expected: float) -> None:
    same = _units(1, 0).expand(64, -1)
    loss = _contrastive(same, same, torch.arange(64) % 7, "o2c", tau=(0.1, tau_c))
    assert torch.allclose(loss, torch.full((64,), expected), atol=1e-3)


def test_contrasts_against_sums_of_exponentials() -> None:
    d, e, f, label = _units(9, 0), _units(9, 1), _units(9, 2), torch.tensor([0, 0, 1, 1, 1, 2, 3, 4, 4])
    for contrast in CONTRASTS:
        found = _contrastive(d, e, label, contrast, f, tau=(0.2, 0.5))
        for i in range(9):
            own = torch.exp(d[i] @ e[i] / 0.5) + (torch.exp(d[i] @ f[i] / 0.5) if "supcon" in contrast else 0)
            others = {k: torch.exp(d[i] @ d[k] / 0.2) for k in range(9) if k != i}
            kin = sum(value for k, value in others.items() if label[k] == label[i] and contrast in ("2c", "csupcon"))
            expected = -torch.log((own + kin) / (own + sum(others.values())))
            assert torch.isclose(found[i], expected, atol=1e-5), contrast


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_contrast_does_not_depend_on_the_order_of_the_batch(contrast: str) -> None:
    d, e, f, label = _units(12, 0), _units(12, 1), _units(12, 2), torch.arange(12) % 5
    order = torch.randperm(12, generator=_draws())
    moved = _contrastive(d[order], e[order], label[order], contrast, f[order])
    assert torch.allclose(moved, _contrastive(d, e, label, contrast, f)[order], atol=1e-5)


def test_oneself_ignores_the_labels_of_others() -> None:
    d, e, label = _units(8, 0), _units(8, 1), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    other = torch.tensor([0, 3, 2, 2, 1, 0, 3, 1])
    assert torch.equal(_contrastive(d, e, label, "o2c")[0], _contrastive(d, e, other, "o2c")[0])
    assert not torch.isclose(_contrastive(d, e, label, "2c")[0], _contrastive(d, e, other, "2c")[0])


def test_distinct_labels_make_the_pairs_of_losses_equal() -> None:
    d, e, f, label = _units(7, 0), _units(7, 1), _units(7, 2), torch.arange(7)
    assert torch.equal(_contrastive(d, e, label, "2c"), _contrastive(d, e, label, "o2c"))
    assert torch.equal(_contrastive(d, e, label, "csupcon", f), _contrastive(d, e, label, "oc-supcon", f))


def test_a_source_infinitely_far_is_no_source() -> None:
    d, e, label = _units(7, 0), _units(7, 1), torch.arange(7) % 3
    far = _contrastive(d, e, label, "oc-supcon", -1e4 * d)
    assert torch.allclose(far, _contrastive(d, e, label, "o2c"), atol=1e-5)


@pytest.mark.parametrize("contrast", ["2c", "o2c"])
def test_gradient_attracts_and_repels(contrast: str) -> None:
    d, e, label = _units(6, 0).requires_grad_(), _units(6, 1).requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 2])
    _contrastive(d, e, label, contrast)[0].backward()
    assert e.grad is not None and d.grad is not None
    # d loss / d proxy_0 is (p - 1) / tau times d_0, d loss / d d_k is a share times d_0 / tau.
    assert (e.grad[0] @ d[0]) < 0
    towards = d.grad[1:] @ d[0]
    assert towards[0] > 0 if contrast == "o2c" else towards[0] < 0
    assert (towards[1:] > 0).all()


def test_contrast_stays_finite_in_half_precision() -> None:
    d = _units(64, 0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = _contrastive(d.bfloat16(), d.bfloat16(), torch.arange(64) % 7, "2c", tau=(0.01, 0.01))
    assert loss.dtype == torch.float32 and loss.isfinite().all()


def test_hinge_of_a_sure_discriminator_has_no_gradient() -> None:
    real, made = torch.tensor([1.5, 3.0], requires_grad=True), torch.tensor([-1.1, -2.0], requires_grad=True)
    loss = losses.hinge_discriminator(real, made)
    loss.backward()
    assert loss == 0 and real.grad is not None and made.grad is not None
    assert not real.grad.any() and not made.grad.any()
    assert losses.hinge_discriminator(torch.zeros(2), torch.zeros(2)) == 2


def test_only_what_is_too_loud_costs_something() -> None:
    unbounded = torch.tensor([-9.0, 0.0, losses.LOUDEST, losses.LOUDEST + 2], requires_grad=True)
    loss = losses.excess(unbounded)
    loss.backward()
    assert loss.item() == pytest.approx(1.0) and unbounded.grad.tolist() == [0, 0, 0, 1]


def test_a_generator_stuck_at_full_scale_still_learns() -> None:
    def pull(weight: float) -> float:
        stage = GanStage(_config(excess_weight=weight), 7)
        nets = stage.build({})
        nn.init.constant_(nets["generator"].last.bias, 12.0)
        stage.loss("generator", nets, _batch(), _step())["loss"].backward()
        return nets["generator"].last.bias.grad.abs().max().item()

    assert pull(0.0) < 1e-3 and pull(10.0) > 1


def test_supervised_contrastive_of_equal_embeddings() -> None:
    same = _units(1, 0).expand(16, -1)
    loss = losses.supervised_contrastive(same, torch.arange(16) % 4, 0.07)
    assert torch.allclose(loss, torch.full((16,), log(15)), atol=1e-4)


# The nets


@pytest.mark.parametrize(("width", "generator_m", "discriminator_m"), [(32, 5.72, 5.22), (64, 16.49, 20.72), (96, 32.3, 46.5)])
def test_sizes_without_attention(width: int, generator_m: float, discriminator_m: float) -> None:
    sizes = {"width": width, "max_channels": 16 * width, "attention": False}
    with torch.device("meta"):
        nets = (
            Generator(GeneratorLayout(**sizes, spectral_norm=False), SHAPE, 7),
            Discriminator(DiscriminatorLayout(**sizes, spectral_norm=False), 7),
        )
    digits = 1 if width == 96 else 2
    found = [round(sum(p.numel() for p in net.parameters()) / 1e6, digits) for net in nets]
    assert found == [generator_m, discriminator_m]


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_shapes(fold: int) -> None:
    sizes = {"width": 8, "max_channels": 64, "fold": fold}
    generator = Generator(GeneratorLayout(**sizes, speckle=True), SHAPE, 7)
    discriminator = Discriminator(DiscriminatorLayout(**sizes, strided=fold > 0, adv_projection=True), 7)
    label = torch.tensor([0, 6])
    mel = generator(torch.randn(2, generator.num_latents, generator=_draws()), label)
    assert mel.shape == (2, 1, *SHAPE) and mel.abs().max() <= 1
    score, embedding = discriminator(mel, label)
    assert score.shape == (2,) and embedding.shape == (2, 128)
    assert torch.allclose(embedding.norm(dim=1), torch.ones(2))
    assert torch.allclose(discriminator.proxies(label).norm(dim=1), torch.ones(2))


def test_features_are_sixteen_times_as_wide() -> None:
    assert Discriminator(DiscriminatorLayout(width=4), 7).features(torch.zeros(2, 1, *SHAPE)).shape == (2, 64)


def test_mean_pooling_is_a_sum_as_over_sixteen_places() -> None:
    mel = torch.rand(2, 1, *SHAPE, generator=_draws())
    summed, mean = (Discriminator(DiscriminatorLayout(width=4, fold=2, pooled=kind), 7).eval() for kind in ("sum", "mean"))
    mean.load_state_dict(summed.state_dict())
    assert torch.allclose(summed.features(mel) * 16 / (5 * 43), mean.features(mel), atol=1e-4)


def test_class_vector_moves_the_score_only_with_adv_projection() -> None:
    for paired in (False, True):
        net = Discriminator(DiscriminatorLayout(width=4, fold=2, adv_projection=paired), 7).eval()
        features = torch.rand(1, 32, generator=_draws()).expand(7, -1)
        assert bool(net.score(features, torch.arange(7)).std() > 1e-4) == paired


@pytest.mark.parametrize("step", [(1, 1), (2, 1), (2, 2)])
def test_smeared_kernels_change_no_value(step: tuple[int, int]) -> None:
    x = torch.randn(2, 3, 8, 6, generator=_draws())
    up, down = UpConv(3, 5, step), DownConv(3, 5, step)
    expected = F.conv2d(F.interpolate(x, scale_factor=step), up.weight, up.bias, padding=1)
    assert torch.allclose(up(x), expected, atol=1e-5)
    expected = F.avg_pool2d(F.conv2d(x, down.weight, down.bias, padding=1), step)
    assert torch.allclose(down(x), expected, atol=1e-5)


def test_spectral_norm_bounds_the_discriminator() -> None:
    discriminator = Discriminator(DiscriminatorLayout(width=4, fold=2), 7)
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.mul_(10)
        for _ in range(30):
            discriminator(torch.zeros(1, 1, *SHAPE), torch.zeros(1, dtype=torch.long))
        discriminator.eval()
        assert torch.isclose(torch.linalg.matrix_norm(discriminator.hidden.weight, 2), torch.tensor(1.0), atol=1e-3)


def test_the_encoder_is_a_resnet18_on_the_unit_sphere() -> None:
    encoder = ResNetEncoder(Encoder(), 128).eval()
    assert round(sum(p.numel() for p in encoder.backbone.parameters()) / 1e6, 2) == 11.17
    with torch.no_grad():
        embedding = encoder(torch.rand(2, 1, *SHAPE, generator=_draws()) * 2 - 1)
    assert embedding.shape == (2, 128) and torch.allclose(embedding.norm(dim=1), torch.ones(2))


# Scale and augmentation


def test_mel_scale_there_and_back() -> None:
    mel = torch.linspace(log(1e-5), 2.5, 1001)
    scale = MelScale()
    assert torch.allclose(scale.to_mel(scale.to_unit(mel), 1e-5), mel, atol=1e-5)
    assert scale.to_unit(torch.tensor([-20.0, 9.0])).tolist() == [-1, 1]
    assert scale.to_mel(torch.tensor(-1.0), 1e-4) == pytest.approx(log(1e-4))


def test_mel_scale_that_cuts_off_the_floor_is_refused() -> None:
    with pytest.raises(UserError, match=r"does not hold log-mels from -11\.5129"):
        _config(scale={"low": -8.0})


def test_shift_moves_whole_frames() -> None:
    mel = torch.arange(24.0).reshape(3, 1, 1, 8)
    moved = shift(mel, torch.tensor([2, 0, -3]), -1.0)[:, 0, 0]
    assert moved[0].tolist() == [-1, -1, 0, 1, 2, 3, 4, 5]
    assert moved[1].tolist() == list(range(8, 16))
    assert moved[2].tolist() == [19, 20, 21, 22, 23, -1, -1, -1]


def test_gain_is_the_gain_of_the_wave() -> None:
    augmenter = Augmenter(MelSpec(), MelScale())
    mel = torch.zeros(400, 1, 80, 4)
    moved = augmenter.shift_and_gain(mel, Augment(gain_db=6), _draws())[:, 0, 0, 0]
    change_db = moved * (2.5 - log(1e-5)) / 2 * 20 / log(10)
    assert change_db.abs().max() <= 6.001 and change_db.std() == pytest.approx(12 / 12**0.5, rel=0.1)


def test_views_fade_and_mask_with_silence() -> None:
    augmenter, settings = Augmenter(MelSpec(), MelScale()), Encoder()
    view = augmenter.fade_and_mask(torch.full((64, 1, *SHAPE), 0.5), settings, _draws())
    assert view.isfinite().all() and view.min() == -1 and view.max() == pytest.approx(0.5)
    masked = (view[:, 0, 0] == -1).sum(dim=1)
    assert masked.min() >= 1 and masked.max() <= settings.masks * settings.mask_frames + 4
    assert (view[:, 0, 0, 0] < view[:, 0, 0, 172]).float().mean() > 0.7


# The stages


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_stages_of_each_loss(contrast: str) -> None:
    found = stages(_config(contrast=contrast), DCASE7)
    assert [stage.name for stage in found] == (["encoder", "gan"] if "supcon" in contrast else ["gan"])
    assert found[-1].needs == (("encoder",) if "supcon" in contrast else ())


def test_a_neural_vocoder_is_trained_before_the_gan_and_heard_with_it() -> None:
    config = _with_neural_vocoder(contrast="oc-supcon")
    assert [stage.name for stage in stages(config, DCASE7)] == ["encoder", "vocoder", "gan"]
    assert SYSTEM.samples_from(config) == ("vocoder", "gan")
    assert SYSTEM.samples_from(_config()) == ("gan",)


def test_a_neural_vocoder_asks_for_its_stage_and_fits_the_mel() -> None:
    with pytest.raises(UserError, match=r"training must have the stages \['gan', 'vocoder'\]"):
        _config(vocoder={"kind": "hifigan"})
    with pytest.raises(UserError, match="make 128 samples of each frame, but the mel has a hop of 256"):
        _with_neural_vocoder(rates=(8, 8, 2), kernels=(16, 16, 4))


def test_source_losses_ask_for_an_encoder_stage() -> None:
    with pytest.raises(UserError, match=r"training must have the stages \['encoder', 'gan'\]"):
        _config(contrast="csupcon", training={"gan": {"steps": 1, "batch_size": 7}})


@pytest.mark.parametrize("source", ["self", "self_grad", "paired", "class_mean"])
def test_the_frozen_encoder_never_changes(source: str) -> None:
    config = _config(contrast="oc-supcon", source=source)
    encoder, gan = stages(config, DCASE7)
    nets = gan.build({"encoder": encoder.build({})})
    before = {key: value.clone() for key, value in nets["encoder"].state_dict().items()}
    step = _step()
    for turn in gan.turns:
        gan.loss(turn, nets, _batch(), step)["loss"].backward()
    assert not nets["encoder"].training
    assert all(torch.equal(value, before[key]) for key, value in nets["encoder"].state_dict().items())
    assert all(parameter.grad is None for parameter in nets["encoder"].parameters())
    assert all(parameter.grad is not None for parameter in nets["generator"].parameters())


def test_source_gradient_reaches_the_made_mel_only_where_asked() -> None:
    encoder = ResNetEncoder(Encoder(hidden=(8, 16)), 128)
    for source, flows in (("self", False), ("self_grad", True)):
        stage = GanStage(_config(contrast="oc-supcon", source=source), 7)
        made = torch.zeros(14, 1, *SHAPE, requires_grad=True)
        assert stage._source(nn.ModuleDict({"encoder": encoder}), made, _batch(), is_real=False).requires_grad == flows


def test_one_making_serves_both_turns() -> None:
    stage = GanStage(_config(), 7)
    nets, step = stage.build({}), _step()
    stage.loss("generator", nets, _batch(), step)
    made = step.memo["made"]
    assert not made.requires_grad
    stage.loss("discriminator", nets, _batch(), step)
    assert "made" not in step.memo
    assert stage.loss("discriminator", nets, _batch(), step)["loss"].isfinite(), "a repeat makes mels of its own"


def test_class_table_learns_with_the_discriminator_alone() -> None:
    stage = GanStage(_config(), 7)
    nets = stage.build({})
    stage.loss("discriminator", nets, _batch(), _step())["loss"].backward()
    assert nets["discriminator"].classes.weight.grad.any()
    assert all(parameter.grad is None for parameter in nets["generator"].parameters())


def test_validation_tells_the_diversity_within_classes() -> None:
    stage = GanStage(_config(), 7)
    nets = stage.build({}).eval()
    with torch.no_grad():
        found = stage.validate(nets, _batch(), _step())
    assert all(value.isfinite() for value in found.values())
    assert 0 < found["diversity"] < 2


def test_encoder_learns_to_tell_two_sounds_apart() -> None:
    stage = EncoderStage(_config(contrast="oc-supcon", encoder={"hidden": (8, 16), "learning_rate": 0.01}))
    nets, step = stage.build({}), _step()
    optimizer = stage.optimizer("encoder", nets)
    label = torch.arange(8) % 2
    mel = torch.full((8, *SHAPE), -11.0)
    mel[label == 0, :40], mel[label == 1, 40:] = 0.0, 0.0
    found = []
    for _ in range(12):
        loss = stage.loss("encoder", nets, {"mel": mel, "label": label}, step)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert found[-1] < found[0] - 0.3


# The sampler


def _checkpoint(config: Config, folder: object, steps: int = 0, name: str = "gan") -> Checkpoint:
    nets = next(stage for stage in stages(config, DCASE7) if stage.name == name).build({})
    card = Card(
        system="contrastive_gan",
        stage=name,
        run="0" * 8,
        step=steps,
        config=config.model_dump(mode="json"),
        classes=DCASE7,
        mel_id=config.mel.id,
        corpus="none",
        version="0",
        commit="none",
    )
    raw = {key: value * 1.5 if value.is_floating_point() else value for key, value in nets.state_dict().items()}
    return checkpoint.save(folder, card, nets.state_dict(), raw, {})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> ContrastiveGanSampler:
    found = load_sampler({"gan": _checkpoint(_config(), tmp_path_factory.mktemp("gan"))}, torch.device("cpu"))
    assert isinstance(found, ContrastiveGanSampler)
    return found


def test_truncation_and_averaging_are_heard(sampler: ContrastiveGanSampler) -> None:
    label, seed = torch.tensor([3]), [5]
    plain = sampler.sample(label, [sampler.params()], seed)
    assert not torch.equal(plain, sampler.sample(label, [sampler.params(truncation=0.5)], seed))
    assert not torch.equal(plain, sampler.sample(label, [sampler.params(averaged="off")], seed))


def test_threads_change_neither_the_sound_nor_the_setting(sampler: ContrastiveGanSampler) -> None:
    labels, before, found = torch.arange(3), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(sampler.sample(labels, [sampler.params()] * 3, [0, 1, 2]))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.slow
def test_a_neural_vocoder_sounds_the_same_in_any_company(tmp_path: Path) -> None:
    config = _with_neural_vocoder()
    found = load_sampler(
        {name: _checkpoint(config, tmp_path / name, 0, name) for name in ("gan", "vocoder")}, torch.device("cpu")
    )
    labels, seeds = torch.arange(3), [5, 6, 7]
    together = found.sample(labels, [found.params()] * 3, seeds)
    alone = [found.sample(labels[i : i + 1], [found.params()], seeds[i : i + 1]) for i in (2, 1, 0)]
    assert torch.equal(together, torch.cat(alone[::-1]))
    assert together.shape == (3, 88_200) and together[:, :88_064].std(dim=1).min() > 0 and not together[:, 88_064:].any()


def test_a_neural_vocoder_without_its_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint for vocoder"):
        load_sampler({"gan": _checkpoint(_with_neural_vocoder(), tmp_path)}, torch.device("cpu"))


def test_nothing_asked_for_gives_nothing(sampler: ContrastiveGanSampler) -> None:
    assert sampler.sample(torch.zeros(0, dtype=torch.long), [], []).shape == (0, sampler.clip.num_samples)


def test_standing_statistics_belong_to_the_weights() -> None:
    generator = build_generator(_config(), 7)
    stand(generator)
    latent = torch.randn(70, generator.num_latents, generator=_draws())
    with torch.no_grad():
        x = generator.first(latent[:, : generator.chunk]).reshape(70, -1, *generator.grid)
        seen = generator.blocks[0].norm1.norm(x)
    assert not generator.training
    assert seen.mean().abs() < 0.1 and seen.std() == pytest.approx(1, abs=0.1)


def test_weights_of_another_size_are_refused(tmp_path: object) -> None:
    found = _checkpoint(_config(), tmp_path)
    other = _config(generator={"width": 8, "fold": 1, "max_channels": 16, "latent": 20, "speckle": True})
    card = found.card.model_copy(update={"config": other.model_dump(mode="json")})
    with pytest.raises(UserError, match="does not fit the generator"):
        load_sampler({"gan": Checkpoint(found.path, card)}, torch.device("cpu"))


def test_shipped_configs_are_valid() -> None:
    for name in ("tiny", "paper"):
        _, config = read_config(f"systems/contrastive_gan/{name}.yaml")
        assert isinstance(config, Config) and config.training["gan"].balanced
