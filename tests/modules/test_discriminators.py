"""The discriminators of HiFi-GAN: their published sizes, what they hear, and their norms."""

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parametrizations, parametrize

from foleyray.modules.discriminators import (
    MultiPeriodDiscriminator,
    MultiScaleDiscriminator,
    PeriodDiscriminator,
    ScaleDiscriminator,
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def _wave(num_samples: int = 4096) -> Tensor:
    return torch.randn(2, num_samples, generator=torch.Generator().manual_seed(0)) * 0.1


@pytest.mark.parametrize(
    ("kind", "size", "lengths"), [(MultiPeriodDiscriminator, 41_092_165, 13_605), (MultiScaleDiscriminator, 29_610_627, 8_194)]
)
def test_published_sizes(kind: type[torch.nn.Module], size: int, lengths: int) -> None:
    """41.09 M and 29.61 M weights, and one number for each output channel of a convolution with weight norm."""
    parameters = dict(kind(32).named_parameters())
    with_norm = {key for key, value in parameters.items() if key.endswith("original0") and f"{key[:-1]}1" in parameters}
    assert sum(parameters[key].numel() for key in with_norm) == lengths
    assert sum(value.numel() for key, value in parameters.items() if key not in with_norm) == size


def test_a_judgement_for_every_period() -> None:
    found = MultiPeriodDiscriminator(4)(_wave())
    assert len(found) == 5
    for period, (score, features) in zip((2, 3, 5, 7, 11), found, strict=True):
        assert len(features) == 6 and torch.equal(score, features[-1].flatten(1))
        assert [f.shape[1] for f in features] == [4, 16, 64, 128, 128, 1]
        assert all(f.shape[-1] == period for f in features), "phases are not mixed"


def test_a_period_hears_each_phase_by_itself() -> None:
    discriminator, wave = PeriodDiscriminator(4, 5), _wave(500)
    changed = wave.clone()
    changed[:, 2::5] += 0.5
    before, after = (discriminator(w)[1][-1] for w in (wave, changed))
    same = [torch.allclose(before[..., phase], after[..., phase]) for phase in range(5)]
    assert same == [True, True, False, True, True]


def test_a_wave_is_mirrored_up_to_a_whole_period() -> None:
    discriminator, wave = PeriodDiscriminator(4, 7), _wave(699)
    whole = torch.cat([wave, wave[:, -2:-1]], dim=1)
    assert torch.equal(discriminator(wave)[0], discriminator(whole)[0])


def test_each_scale_hears_averages_over_twice_as_many_samples() -> None:
    judges, wave = MultiScaleDiscriminator(4), _wave()
    found = judges(wave)
    assert [f.shape[-1] for f in found[0][1]] == [4096, 2048, 1024, 256, 64, 64, 64, 64]
    averages = wave
    for judge, (score, features) in zip(judges.discriminators, found, strict=True):
        assert len(features) == 8 and torch.equal(score, features[-1].flatten(1))
        assert torch.allclose(judge.eval()(averages)[0], score, atol=1e-3) or judge is judges.discriminators[0]
        padded = torch.nn.functional.pad(averages, (2, 2))
        averages = padded.unfold(1, 4, 2).mean(dim=-1)


def test_only_the_first_scale_has_spectral_norm() -> None:
    kinds = [
        {
            type(parametrization)
            for m in judge.modules()
            if parametrize.is_parametrized(m)
            for parametrization in m.parametrizations.weight
        }
        for judge in MultiScaleDiscriminator(4).discriminators
    ]
    assert kinds == [{parametrizations._SpectralNorm}, {parametrizations._WeightNorm}, {parametrizations._WeightNorm}]


def test_spectral_norm_holds_the_largest_singular_value() -> None:
    judge, wave = ScaleDiscriminator(4, is_spectral=True), _wave(1024)
    with torch.no_grad():
        for parameter in judge.parameters():
            parameter.mul_(10)
        for _ in range(60):
            judge(wave)
        judge.eval()
        for conv in [*judge.convs, judge.conv_post]:
            assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kind", [MultiPeriodDiscriminator, MultiScaleDiscriminator])
def test_a_clip_is_judged_alike_in_any_company(kind: type[torch.nn.Module]) -> None:
    judges, wave = kind(4).eval(), _wave()
    for together, alone in zip(judges(wave), judges(wave[1:]), strict=True):
        assert torch.allclose(together[0][1:], alone[0], atol=1e-5)
