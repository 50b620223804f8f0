"""HiFi-GAN with a condition and with several heads, as VIFS has it, and what folding makes of every kind of generator."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parametrize

from foleyray.modules.hifigan import HiFiGAN, HiFiGANLayout, Precision, folded, weight_normed

TINY = HiFiGANLayout(channels=16, rates=(4, 2, 2), kernels=(8, 4, 4), residual_kernels=(3, 5), dilations=((1, 3), (1, 2)))
ODD = TINY.model_copy(update={"kernels": (7, 5, 4)})
BANDS, CONDITION, FRAMES = 6, 5, 11


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Fresh nets draw their weights from the process's own random numbers."""
    torch.manual_seed(0)


def _inputs(batch: int = 2) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, BANDS, FRAMES), torch.randn(batch, CONDITION)


def test_the_size_of_vifs() -> None:
    """Counted in the published code; the four parts that hang on it are in the system's own tests."""
    generator = weight_normed(HiFiGAN(HiFiGANLayout(), 192, condition=192, heads=3))
    assert sum(parameter.numel() for parameter in generator.parameters()) == 14_437_184


@pytest.mark.parametrize("layout", [TINY, ODD], ids=["even", "odd"])
def test_waves_of_every_rate(layout: HiFiGANLayout) -> None:
    generator = HiFiGAN(layout, BANDS, CONDITION, heads=3)
    waves = generator.outputs(*_inputs())
    assert [wave.shape for wave in waves] == [(2, FRAMES * 4), (2, FRAMES * 8), (2, FRAMES * 16)]
    assert all(0 < wave.abs().max() <= 1 for wave in waves)


def test_a_head_hears_its_own_stage_alone() -> None:
    """Each is a convolution of the mean of its stage's blocks, through a leaky ReLU and a tanh."""
    generator = HiFiGAN(TINY, BANDS, CONDITION, heads=2)
    frames, condition = _inputs()
    x = generator.conv_pre(frames) + F.linear(condition, generator.cond.weight[:, :, 0], generator.cond.bias)[:, :, None]
    waves = []
    for stage in range(3):
        x = generator.ups[stage](F.leaky_relu(x, 0.1))
        x = torch.stack([block(x) for block in generator.resblocks[2 * stage : 2 * stage + 2]]).mean(dim=0)
        if stage > 0:
            weight = generator.conv_posts[stage - 1].weight
            waves.append(torch.tanh(F.conv1d(F.leaky_relu(x, 0.01), weight, padding=3)).squeeze(1))
    for wave, expected in zip(generator.outputs(frames, condition), waves, strict=True):
        assert torch.allclose(wave, expected, atol=1e-6)


def test_the_wave_alone_computes_no_other_head() -> None:
    generator, inputs = HiFiGAN(TINY, BANDS, CONDITION, heads=3), _inputs()
    whole = generator.outputs(*inputs)[-1]
    for head in generator.conv_posts[:-1]:
        head.forward = None
    assert torch.equal(generator(*inputs), whole)


def test_the_condition_changes_every_wave() -> None:
    generator, (frames, condition) = HiFiGAN(TINY, BANDS, CONDITION, heads=3), _inputs()
    pairs = zip(generator.outputs(frames, condition), generator.outputs(frames, -condition), strict=True)
    assert all((one - other).abs().max() > 1e-3 for one, other in pairs)
    with pytest.raises(AssertionError, match="a vector for each clip"):
        generator(frames)


def test_where_weight_norm_is() -> None:
    many, one = (weight_normed(HiFiGAN(TINY, BANDS, CONDITION, heads)) for heads in (3, 1))
    whole = [many.conv_pre, many.cond, *many.conv_posts]
    assert not any(parametrize.is_parametrized(module) for module in whole)
    assert all(parametrize.is_parametrized(module) for module in [*many.ups, one.conv_pre, one.cond, one.conv_post])


def test_folding_keeps_condition_and_heads() -> None:
    generator, inputs = weight_normed(HiFiGAN(TINY, BANDS, CONDITION, heads=3)), _inputs()
    for parameter in generator.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    assert torch.allclose(folded(generator)(*inputs), generator(*inputs), atol=1e-5)


# The folded generator


def _folded_pair(layout: HiFiGANLayout, precision: Precision = "float32") -> tuple[HiFiGAN, HiFiGAN]:
    """A lively generator as it trains, and folded."""
    generator = weight_normed(HiFiGAN(layout, BANDS, CONDITION, heads=2))
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("original0"):
                parameter.mul_(2 if name.startswith("ups") else 1.3)
    return generator, folded(generator, precision)


WIDE = HiFiGANLayout(
    channels=256, rates=(3, 2), kernels=(7, 4), residual_kernels=(3, 7, 11), dilations=((1, 3), (1, 3), (1, 5))
)


@pytest.mark.parametrize("layout", [TINY, ODD, TINY.model_copy(update={"resblock": 2}), WIDE], ids=["1", "odd", "2", "wide"])
def test_folded_makes_the_same_waves(layout: HiFiGANLayout) -> None:
    """The wide one has layers of the size from which on they are transformed."""
    generator, quick = _folded_pair(layout)
    inputs = _inputs()
    for expected, wave in zip(generator.outputs(*inputs), quick.outputs(*inputs), strict=True):
        assert expected.std() > 0.01 and torch.allclose(wave, expected, atol=1e-5)
    assert torch.equal(quick(*inputs), quick.outputs(*inputs)[-1])


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_clip_has_the_same_bits_in_any_company(precision: Precision) -> None:
    _, quick = _folded_pair(WIDE, precision)
    frames, condition = _inputs(batch=3)
    assert torch.equal(quick(frames, condition)[1:2], quick(frames[1:2], condition[1:2]))


def test_bf16_is_near_float32_and_keeps_fine_samples() -> None:
    generator, quick = _folded_pair(WIDE, "bf16")
    inputs = _inputs()
    wave, exact = quick(*inputs), generator(*inputs)
    assert wave.dtype == torch.float32 and not torch.equal(wave, wave.bfloat16().float())
    assert 1e-4 < (wave - exact).square().mean().sqrt() / exact.std() < 0.03


def test_autocast_does_not_reach_a_folded_generator() -> None:
    _, quick = _folded_pair(TINY)
    inputs = _inputs()
    with torch.autocast("cpu", torch.bfloat16):
        halved = quick(*inputs)
    assert torch.equal(halved, quick(*inputs))


def test_threads_lay_out_the_weights_once() -> None:
    _, quick = _folded_pair(WIDE)
    frames, condition = _inputs(batch=6)
    with ThreadPoolExecutor(3) as threads:
        waves = list(threads.map(lambda clip: quick(clip[0][None], clip[1][None]), zip(frames, condition, strict=True)))
    assert torch.allclose(torch.cat(waves), folded(quick)(frames, condition), atol=1e-6)
