"""Convolutions along one clip on one core of a CPU, for inference: as few multiplications as pay, and in the cache.

Time comes first and channels last, x (T, channels), so that each step is a product of matrices that lie in memory as they are.
"""

from abc import ABC, abstractmethod
from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDE, LONG = 128, 7
"""Channels and taps from which on fewer multiplications are faster, measured on AVX-512."""


class Convolution(ABC):
    """A Conv1d of stride 1 with frozen weights, without its padding. Its products are taken in `dtype`.

    It is made for pieces of `piece` samples: enough for the weights to be read seldom, and few enough for the cache.
    """

    piece: int

    def __init__(self, module: nn.Conv1d, dtype: torch.dtype) -> None:
        self.dilation, self.taps = module.dilation[0], module.kernel_size[0]
        self.reach = self.dilation * (self.taps - 1)
        self.dtype = dtype

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """x (T + reach, channels) float32 -> (T, channels)"""


class Direct(Convolution):
    """One tap after the other, by oneDNN."""

    def __init__(self, module: nn.Conv1d, dtype: torch.dtype) -> None:
        super().__init__(module, dtype)
        self.piece = 2**19 // module.in_channels + 1
        self.weight = module.weight[:, :, None].to(dtype, memory_format=torch.channels_last, copy=True)
        self.bias = None if module.bias is None else module.bias.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        # A picture of one row; the view has exactly the strides by which torch knows channels_last.
        picture = x.to(self.dtype)[None, None].permute(0, 3, 1, 2)
        y = F.conv2d(picture, self.weight, self.bias, dilation=(1, self.dilation))
        return y.permute(0, 2, 3, 1)[0, 0]


class Transformed(Convolution):
    """As products of discrete Fourier transforms of short overlapping tiles (overlap-save), three real for each complex one.

    With 2k + 2 samples a tile that is 2.5 multiplications for each output of 11 taps, and 2.3 for 7. Transforms so short are
    products with constant matrices: `onto` (products, tile), `of_taps` (products, taps), `back` (outputs, products).
    """

    def __init__(self, module: nn.Conv1d, dtype: torch.dtype) -> None:
        super().__init__(module, dtype)
        self.piece = 8 * module.in_channels
        self.tile = 2 * self.taps + 2
        onto, of_taps, back = _transforms(self.tile, self.taps)
        self.onto, self.back = onto.float(), back.float()
        self.outputs, self.products = self.back.shape
        self.weight = torch.einsum("pk,oik->pio", of_taps, module.weight.double()).to(dtype)
        self.bias = None if module.bias is None else module.bias * self.tile

    def __call__(self, x: Tensor) -> Tensor:
        spacing, length, width = self.dilation, len(x) - self.reach, x.shape[1]
        # Every `spacing`th sample is a row of tiles of its own.
        count = -(-length // (spacing * self.outputs))
        x = F.pad(x, (0, 0, 0, spacing * (count * self.outputs + self.taps - 1) - len(x)))
        tiles = x.new_empty(spacing, count, self.products, width)
        strides = (self.outputs * spacing * width, spacing * width, 1)
        for phase in range(spacing):
            view = x.as_strided((count, self.tile, width), strides, x.storage_offset() + phase * width)
            torch.bmm(self.onto.expand(count, -1, -1), view, out=tiles[phase])
        mixed = torch.bmm(tiles.flatten(0, 1).transpose(0, 1).to(self.dtype), self.weight).float()
        if self.bias is not None:
            mixed[0] += self.bias  # the first product is the tile's sum
        y = x.new_empty(count, self.outputs, spacing, mixed.shape[2])
        for phase, part in enumerate(torch.split(mixed, count, dim=1)):
            torch.bmm(self.back.expand(count, -1, -1), part.transpose(0, 1), out=y[:, :, phase])
        return y.view(-1, mixed.shape[2])[:length]


def _transforms(tile: int, taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """(onto, of_taps, back): sum_i taps[i] x[j + i] is row j of back @ ((of_taps @ taps) * (onto @ x)), where no sum wraps."""
    time = torch.arange(tile, dtype=torch.float64)
    sign = 1 - 2 * (time % 2)
    onto, of_taps = [torch.ones_like(time), sign], [torch.ones_like(time), sign]
    back = [torch.ones_like(time) / tile, sign / tile]
    for frequency in range(1, tile // 2):
        angle = 2 * pi * frequency / tile * time
        cos, sin = angle.cos(), angle.sin()
        # Gauss: (a + ib)(c + id) out of (a + b) c, a (d - c) and b (c + d), where a + ib is of x and c + id of the taps.
        onto += [cos - sin, cos, -sin]
        of_taps += [cos, sin - cos, cos + sin]
        back += [2 / tile * row for row in (cos - sin, -sin, -cos)]
    return torch.stack(onto), torch.stack(of_taps)[:, :taps], torch.stack(back, dim=1)[: tile - taps + 1]


class Upsampling:
    """A ConvTranspose1d with frozen weights, as products of matrices: each frame's share in all the samples that it reaches."""

    def __init__(self, module: nn.ConvTranspose1d, dtype: torch.dtype) -> None:
        assert module.bias is not None
        self.rate, self.padding, self.kernel = module.stride[0], int(module.padding[0]), module.kernel_size[0]
        self.count = -(-self.kernel // self.rate)
        whole = F.pad(module.weight, (0, self.count * self.rate - self.kernel))
        weight = whole.view(module.in_channels, module.out_channels, self.count, self.rate)
        self.weight = weight.permute(2, 0, 3, 1).flatten(2).to(dtype)  # (frames, channels, rate * channels)
        self.bias = module.bias.repeat(self.rate).to(dtype)
        self.dtype = dtype

    def __call__(self, x: Tensor) -> Tensor:
        """x (T, channels) float32 -> ((T - 1) * rate + kernel - 2 * padding, channels) float32"""
        earlier, end = self.count - 1, (len(x) - 1) * self.rate + self.kernel - self.padding
        x = F.pad(x.to(self.dtype), (0, 0, earlier, earlier))
        size = len(x) - earlier
        y = torch.addmm(self.bias, x[earlier:], self.weight[0])
        for frame in range(1, self.count):
            y.addmm_(x[earlier - frame :][:size], self.weight[frame])
        return y.view(size * self.rate, -1)[self.padding : end].float()


class QuickStage:
    """An upsampling and the mean of the residual blocks behind it, each step of them a leaky ReLU and a convolution, or two."""

    def __init__(self, up: nn.Module, blocks: list[list[list[nn.Module]]], slope: float, dtype: torch.dtype) -> None:
        assert isinstance(up, nn.ConvTranspose1d)
        self.upsampling, self.slope = Upsampling(up, dtype), slope
        self.blocks = [[[fastest(module, dtype) for module in step] for step in block] for block in blocks]

    def __call__(self, x: Tensor) -> Tensor:
        """x (T, channels) float32 -> (T * rate, channels / 2) float32"""
        x = self.upsampling(F.leaky_relu(x, self.slope))
        first, *others = self.blocks
        total = self._through(first, x)
        for block in others:
            total += self._through(block, x)
        return total.div_(len(self.blocks))

    def _through(self, block: list[list[Convolution]], x: Tensor) -> Tensor:
        for *before, last in block:
            y = x
            for convolution in before:
                y = convolved(convolution, y, self.slope)
            x = convolved(last, y, self.slope, added=x)
        return x


def fastest(module: nn.Module, dtype: torch.dtype) -> Convolution:
    """The way that suits the module's size."""
    assert isinstance(module, nn.Conv1d)
    is_big = min(module.in_channels, module.out_channels) >= WIDE and module.kernel_size[0] >= LONG
    return (Transformed if is_big else Direct)(module, dtype)


def convolved(convolution: Convolution, x: Tensor, slope: float, added: Tensor | None = None) -> Tensor:
    """x (T, channels) float32 -> (T, channels): a leaky ReLU and the convolution, with zeros beyond the clip, plus `added`."""
    y = torch.empty_like(x)
    for begin in range(0, len(x), convolution.piece):
        end = min(begin + convolution.piece, len(x))
        made = convolution(F.leaky_relu(_window(x, begin, end, convolution.reach // 2), slope))
        y[begin:end] = made if added is None else made + added[begin:end]
    return y


def _window(x: Tensor, begin: int, end: int, around: int) -> Tensor:
    """x (T, channels) -> (end - begin + 2 * around, channels), zeros where the clip has not begun or has ended."""
    inside = x[max(begin - around, 0) : end + around]
    before, after = max(around - begin, 0), max(end + around - len(x), 0)
    return F.pad(inside, (0, 0, before, after)) if before or after else inside
