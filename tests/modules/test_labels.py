"""Conditional batch norm."""

import torch

from foleyray.modules.labels import ConditionalBatchNorm2d


def test_gain_and_bias_are_read_from_the_condition() -> None:
    norm = ConditionalBatchNorm2d(2, 3)
    with torch.no_grad():
        for linear in (norm.gain, norm.bias):
            linear.weight.zero_()
            linear.bias.zero_()
        norm.gain.weight[0, 0] = 1.0
        norm.bias.weight[1, 1] = 5.0
    x = torch.randn(8, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    plain = norm(x, torch.zeros(8, 3))
    assert torch.allclose(plain.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-6)
    assert torch.allclose(plain.std(dim=(0, 2, 3)), torch.ones(2), atol=0.01)
    conditioned = norm(x, torch.tensor([1.0, 1.0, 0.0]).expand(8, 3))
    assert torch.allclose(conditioned[:, 0], 2 * plain[:, 0], atol=1e-5)
    assert torch.allclose(conditioned[:, 1], plain[:, 1] + 5, atol=1e-5)


def test_clips_do_not_meet_in_evaluation_mode() -> None:
    norm = ConditionalBatchNorm2d(2, 3).eval()
    x, condition = torch.randn(4, 2, 3, 3), torch.randn(4, 3)
    assert torch.allclose(norm(x, condition)[:1], norm(x[:1], condition[:1]))
