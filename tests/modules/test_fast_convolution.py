"""Quick convolutions against torch's own: both ways, dilated, uneven lengths, the clip's ends, and both precisions."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.modules.fast_convolution import Convolution, Direct, Transformed, Upsampling, convolved, fastest


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def _module(taps: int, dilation: int = 1, width: int = 16, bias: bool = True) -> nn.Conv1d:
    return nn.Conv1d(width, width, taps, dilation=dilation, bias=bias).requires_grad_(False)


def _by_torch(module: nn.Conv1d, x: Tensor) -> Tensor:
    """x (T, channels) -> (T - reach, channels)"""
    return F.conv1d(x.T[None], module.weight, module.bias, dilation=module.dilation)[0].T


@pytest.mark.parametrize("way", [Direct, Transformed])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(("taps", "dilation"), [(3, 1), (7, 1), (7, 3), (11, 1), (11, 5)])
def test_both_ways_are_the_convolution(way: type[Convolution], bias: bool, taps: int, dilation: int) -> None:
    module = _module(taps, dilation, bias=bias)
    for length in (1, 13, 200):
        x = torch.randn(length + dilation * (taps - 1), 16)
        assert torch.allclose(way(module, torch.float32)(x), _by_torch(module, x), atol=1e-5)


@pytest.mark.parametrize("way", [Direct, Transformed])
def test_bf16_is_near_and_not_the_same(way: type[Convolution]) -> None:
    module, x = _module(11, 3), torch.randn(300, 16)
    expected = _by_torch(module, x)
    error = (way(module, torch.bfloat16)(x).float() - expected).square().mean().sqrt() / expected.std()
    assert 1e-4 < error < 1e-2


def test_fewer_multiplications_than_taps() -> None:
    for taps, most in ((7, 2.3), (11, 2.5)):
        quick = Transformed(_module(taps), torch.float32)
        assert quick.products / quick.outputs <= most


def test_size_decides_the_way() -> None:
    assert isinstance(fastest(_module(7, width=128), torch.float32), Transformed)
    assert isinstance(fastest(_module(7, width=64), torch.float32), Direct)
    assert isinstance(fastest(_module(3, width=128), torch.float32), Direct)


@pytest.mark.parametrize("way", [Direct, Transformed])
def test_pieces_are_seamless_and_zeros_surround_the_clip(way: type[Convolution]) -> None:
    module = _module(7, 3)
    x, added = torch.randn(101, 16), torch.randn(101, 16)
    expected = F.conv1d(F.leaky_relu(x, 0.1).T[None], module.weight, module.bias, padding=9, dilation=3)[0].T
    for piece in (5, 50, 1000):
        quick = way(module, torch.float32)
        quick.piece = piece
        assert torch.allclose(convolved(quick, x, 0.1), expected, atol=1e-5)
        assert torch.allclose(convolved(quick, x, 0.1, added), expected + added, atol=1e-5)


@pytest.mark.parametrize(("kernel", "rate"), [(16, 8), (4, 2), (11, 5), (4, 3), (5, 2), (3, 3)])
def test_upsampling_is_the_transposed_convolution(kernel: int, rate: int) -> None:
    module = nn.ConvTranspose1d(8, 6, kernel, rate, padding=(kernel - rate) // 2).requires_grad_(False)
    for length in (1, 20):
        x = torch.randn(length, 8)
        made = Upsampling(module, torch.float32)(x)
        assert torch.allclose(made, module(x.T[None])[0].T, atol=1e-5)
