"""PhaseAug: what it turns, what it keeps, and that real and made are turned alike."""

from math import pi

import numpy as np
import pytest
import torch
from scipy.signal import firwin, kaiser_atten, kaiser_beta
from torch import Tensor

from foleyray.modules.phase_aug import PhaseAug

CPU = torch.device("cpu")


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _waves(count: int = 4, num_samples: int = 8192) -> Tensor:
    return 0.1 * torch.randn(count, num_samples, generator=_generator())


def _magnitude(wave: Tensor) -> Tensor:
    found = torch.stft(wave, 1024, 256, window=torch.hann_window(1024), return_complex=True).abs()
    return found[:, :, 4:-4]  # the others hear beyond the wave's ends


def _distance(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def test_no_rotation_changes_nothing() -> None:
    wave = _waves(num_samples=8192 + 100)
    assert torch.allclose(PhaseAug()(wave, torch.zeros(4, 513)), wave, atol=1e-4)


def test_a_rotation_in_proportion_to_frequency_is_a_shift() -> None:
    wave, rotation = _waves(), 2 * pi / 1024 * 2 * torch.arange(513.0).repeat(4, 1)
    found = PhaseAug()(wave, rotation)
    assert torch.allclose(found[:, 512:-512], wave[:, 514:-510], atol=1e-4)


def test_magnitudes_are_roughly_kept_and_samples_are_not() -> None:
    """Noise is the hardest sound for it: neighbouring frequencies have nothing in common."""
    augment, wave = PhaseAug(), _waves(16)
    turned = augment(wave, augment.draw(16, _generator(), CPU))
    assert turned.shape == wave.shape
    assert _distance(_magnitude(turned), _magnitude(wave)) < 0.15
    assert _distance(turned, wave) > 0.5
    assert turned.square().mean().item() == pytest.approx(wave.square().mean().item(), rel=0.05)


def test_real_and_made_are_turned_alike_and_each_clip_in_its_own_way() -> None:
    augment, real = PhaseAug(), _waves()
    made = real.flip(1)
    rotation = augment.draw(4, _generator(), CPU)
    turned_real, turned_made = augment(torch.cat([real, made]), rotation).chunk(2)
    assert torch.allclose(turned_real, augment(real, rotation), atol=1e-6)
    assert torch.allclose(turned_made, augment(made, rotation), atol=1e-6)
    assert len({tuple(row) for row in rotation.tolist()}) == 4
    assert _distance(turned_made, augment(made, rotation.roll(1, 0))) > 0.1, "another clip's rotation would be another wave"


def test_the_gradient_is_the_transpose_of_the_turning() -> None:
    """It is linear, so the made wave times the gradient of any weighted sum is that sum."""
    augment, made = PhaseAug(), _waves().requires_grad_()
    weights = torch.randn(4, 8192, generator=_generator(1))
    total = (weights * augment(made, augment.draw(4, _generator(), CPU))).sum()
    (gradient,) = torch.autograd.grad(total, made)
    assert torch.isfinite(gradient).all() and (gradient != 0).float().mean() > 0.99
    assert (gradient * made).sum().item() == pytest.approx(total.item(), rel=1e-3)


def test_full_precision_under_autocast() -> None:
    augment, wave = PhaseAug(), _waves()
    plain = augment(wave, augment.draw(4, _generator(), CPU))
    with torch.autocast("cpu", torch.bfloat16):
        found = augment(wave, augment.draw(4, _generator(), CPU))
        from_half = augment(wave.bfloat16(), augment.draw(4, _generator(), CPU))
    assert found.dtype == from_half.dtype == torch.float32
    assert torch.equal(found, plain)


def test_drawn_from_the_seed_with_the_spread_of_the_paper() -> None:
    augment = PhaseAug()
    rotation = augment.draw(4000, _generator(), CPU)
    assert rotation.shape == (4000, 513) and torch.equal(rotation, augment.draw(4000, _generator(), CPU))
    assert not torch.equal(rotation, augment.draw(4000, _generator(1), CPU))
    samples = rotation[:, 1:] * 1024 / (2 * pi * torch.arange(1, 513))
    assert (rotation[:, 0] == 0).all(), "the mean of a wave has no phase"
    noise = 6 * augment.smoothing.square().sum().item()
    middle = samples[:, 100:400]
    assert middle.var().item() == pytest.approx(noise + 4 / 3, rel=0.05)
    of_a_clip = middle.mean(dim=1)
    assert of_a_clip.abs().max() < 2.6 and of_a_clip.var().item() == pytest.approx(4 / 3, rel=0.1)
    step = (samples[:, 101:400] - samples[:, 100:399]).square().mean().item()
    assert step < 0.1 * noise, "rough noise would step by twice its variance"


def test_the_low_pass_is_the_one_that_kaiser_designs() -> None:
    beta = kaiser_beta(kaiser_atten(128, 4 * 0.012))  # SciPy's unit is half the rate
    expected = firwin(128, 2 * 0.05, window=("kaiser", beta))
    assert np.allclose(PhaseAug().smoothing.numpy(), expected, atol=1e-6)


def test_waves_that_cannot_share_the_rotations_are_our_mistake() -> None:
    with pytest.raises(AssertionError, match="5 waves cannot share 2 rotations evenly"):
        PhaseAug()(_waves(5), torch.zeros(2, 513))
