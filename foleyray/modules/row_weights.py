"""The weights of a PixelSNAIL as the cached sampler reads them: folded, transposed, split into rows above and cols to the left.

Axes: I, O the channels in and out of a layer; a matrix is (I, O), so that x (M, I) goes through it as x @ matrix.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.modules.pixelsnail import Block, GatedResidual, PixelSNAIL


def matrix(layer: nn.Module, dtype: torch.dtype) -> Tensor:
    """(I, O) of a linear layer or of a 1x1 convolution."""
    assert isinstance(layer.weight, Tensor)
    return layer.weight.flatten(1).T.to(dtype).contiguous()


def packed(kernel: Tensor, cols: int) -> Tensor:
    """The kernel (O, I, height, width) as `convolve` reads it fastest where the output is (1, O, 1, cols)."""
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    has_library = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if kernel.device.type != "cpu" or not has_library:
        return kernel
    shape = [1, kernel.shape[1], kernel.shape[2], cols + kernel.shape[3] - 1]
    return torch.ops.mkldnn._reorder_convolution_weight(kernel, [0, 0], [1, 1], [1, 1], 1, shape)


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """x (1, I, height, cols + width - 1), a `packed` kernel -> (1, O, 1, cols).

    Half as fast again as F.conv2d, bit for bit the same: that one lays the kernel out anew in every call.
    """
    if not kernel.is_mkldnn:
        return F.conv2d(x, kernel)
    return torch.ops.mkldnn._convolution_pointwise(x, kernel, None, [0, 0], [1, 1], [1, 1], 1, "none", [], "")


@dataclass(frozen=True)
class CausalWeights:
    """One of the two convolutions of every causal residual block of the network, N of them."""

    above: list[Tensor]
    """N times (O, I, kernel rows - 1, kernel cols), laid out by `packed`"""
    left: Tensor
    """(taps, N, I, O), those of the own row, from left to right"""
    bias: Tensor
    """(N, O)"""

    @classmethod
    def of(cls, convs: list[nn.Conv2d], cols: int, dtype: torch.dtype) -> "CausalWeights":
        taps = convs[0].kernel_size[1] // 2
        weights = [conv.weight.to(dtype) for conv in convs]
        left = torch.stack([weight[:, :, -1, :taps].permute(2, 1, 0) for weight in weights], dim=1)
        above = [packed(weight[:, :, :-1], cols) for weight in weights]
        return cls(above, left.contiguous(), torch.stack([_bias(conv, dtype) for conv in convs]))


@dataclass(frozen=True)
class AttentionWeights:
    """What follows the causal residual blocks in one block: the maps before, within and after its attention."""

    from_input: Tensor
    """Block input (C) -> the key's hidden channels (C)"""
    from_output: Tensor
    """Output of the residual blocks (C) -> hidden channels of key, query and result (3 C)"""
    hidden_bias: Tensor
    """(places, 3 C), with all that the background adds"""
    key: tuple[Tensor, Tensor]
    """Bias and matrix, as of all that follow: hidden (C) -> before the gate (2 (2 C + 2))"""
    query: tuple[Tensor, Tensor]
    """hidden (C) -> before the gate (2 (C + 2))"""
    keys_values: tuple[Tensor, Tensor]
    """(2 C + 2) -> keys, then values (2 A)"""
    queries: tuple[Tensor, Tensor]
    """(C + 2) -> queries (A), already divided by the root of a head's width"""
    found: Tensor
    """What attention found (A) -> the result's hidden channels (C)"""
    result: tuple[Tensor, Tensor]
    """hidden (C) -> before the gate (2 C)"""

    @classmethod
    def of(cls, block: Block, background: Tensor, dtype: torch.dtype) -> "AttentionWeights":
        key, query, out, attention = block.key, block.query, block.out, block.attention
        key1, query1, out1 = (matrix(part.conv1, torch.float32) for part in (key, query, out))
        channels = len(out1)
        places = F.elu(background)
        hidden = [
            places @ key1[2 * channels :] + _bias(key.conv1, torch.float32),
            places @ query1[channels:] + _bias(query.conv1, torch.float32),
            (_bias(out.conv1, torch.float32) + _bias(out.beside, torch.float32)).expand(len(places), -1),
        ]
        scale = (attention.query.out_features / attention.heads) ** -0.5
        bias, queries = _layer(attention.query, torch.float32)
        pairs = [_layer(part, dtype) for part in (attention.key, attention.value)]
        return cls(
            from_input=key1[:channels].to(dtype).contiguous(),
            from_output=torch.cat([key1[channels : 2 * channels], query1[:channels], out1], 1).to(dtype),
            hidden_bias=torch.cat(hidden, 1).to(dtype),
            key=_layer(key.conv2, dtype),
            query=_layer(query.conv2, dtype),
            keys_values=(torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs], 1)),
            queries=((bias * scale).to(dtype), (queries * scale).to(dtype)),
            found=matrix(_present(out.beside), dtype),
            result=_layer(out.conv2, dtype),
        )


class RowWeights:
    """All that a tile of the sampler reads; made once for a network, on its device."""

    @torch.inference_mode()
    def __init__(self, prior: PixelSNAIL, dtype: torch.dtype) -> None:
        self.settings, self.grid, self.words, self.dtype = prior.settings, prior.grid, prior.words, dtype
        blocks = [block for block in prior.blocks if isinstance(block, Block)]
        resblocks = [part for block in blocks for part in block.resblocks if isinstance(part, GatedResidual)]
        self.first = CausalWeights.of([resblock.conv1 for resblock in resblocks], prior.grid[1], dtype)
        self.second = CausalWeights.of([resblock.conv2 for resblock in resblocks], prior.grid[1], dtype)
        self.gates = [matrix(_present(resblock.condition), dtype) for resblock in resblocks]
        classes = torch.arange(prior.num_classes, device=prior.background.device)
        self.conditions = prior.condition(classes).permute(2, 3, 0, 1).to(dtype)
        """(rows or 1, cols or 1, classes, D)"""
        self.background = prior.background[0].flatten(1).T.contiguous()
        """(places, 2)"""
        self.attention = [AttentionWeights.of(block, self.background, dtype) for block in blocks]
        self.background = self.background.to(dtype)
        self.taps, self.table = prior.input.taps, prior.input.table().to(dtype)
        self.input_bias = prior.input.bias(*prior.grid).to(dtype)
        """(rows, cols, C)"""
        self.out = _layer(prior.out, dtype)


def _present(layer: nn.Module | None) -> nn.Module:
    assert layer is not None
    return layer


def _bias(layer: nn.Module | None, dtype: torch.dtype) -> Tensor:
    assert layer is not None and isinstance(layer.bias, Tensor)
    return layer.bias.to(dtype)


def _layer(layer: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return _bias(layer, dtype), matrix(layer, dtype)
