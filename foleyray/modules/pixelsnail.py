"""PixelSNAIL (Chen et al., 2018): causal convolutions and strictly causal attention over a grid of words, given a class.

Axes: B grids, C channels, rows x cols of a grid in raster order; the network at (r, c) sees what comes before it only.
"""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from foleyray.config import Config

Size = tuple[int, int]
"""Rows, cols: of a grid, or of a kernel."""


class PixelSNAILSettings(Config):
    """Sizes of the network; the defaults are those of the DCASE 2023 Task 7 baseline."""

    channels: int = Field(256, ge=1)
    residual_channels: int = Field(256, ge=1, description="channels between the two convolutions of a residual block")
    blocks: int = Field(4, ge=1, description="each ends with attention")
    resblocks: int = Field(4, ge=1, description="causal residual blocks in each block")
    kernel: Size = Field((5, 5), description="rows and cols of the causal convolutions")
    heads: int = Field(8, ge=1)
    head_width: int = Field(16, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(0.1, ge=0, lt=1, description="on attention's weights; 0 is much faster on CPUs")
    condition: Literal["map", "vector"] = Field("map", description="map: of the grid's size, in one channel (paper)")
    condition_width: int = Field(2048, ge=1, description="width of the layers that make the map, or size of the vector")

    @field_validator("kernel")
    @classmethod
    def _is_odd(cls, kernel: Size) -> Size:
        if min(kernel) < 3 or not kernel[0] % 2 or not kernel[1] % 2:
            raise ValueError("both sizes of the kernel must be odd and 3 or more")
        return kernel


class PixelSNAIL(nn.Module):
    """codes int64 (B, rows, cols), labels int64 (B,) -> logits (B, words, rows, cols).

    The first rows of a grid are enough to have the logits of these rows.
    """

    background: Tensor

    def __init__(self, settings: PixelSNAILSettings, grid: Size, words: int, num_classes: int) -> None:
        super().__init__()
        self.settings, self.grid, self.words, self.num_classes = settings, grid, words, num_classes
        self.input = InputConvs(words, settings.channels, settings.kernel)
        self.condition: ConditionMap | ConditionVector
        if settings.condition == "map":
            self.condition, channels = ConditionMap(num_classes, settings.condition_width, grid), 1
        else:
            self.condition, channels = ConditionVector(num_classes, settings.condition_width), settings.condition_width
        self.blocks = nn.ModuleList(Block(settings, channels) for _ in range(settings.blocks))
        self.out = weight_norm(nn.Conv2d(settings.channels, words, 1))
        places = torch.meshgrid(*((torch.arange(size) - size / 2) / size for size in grid), indexing="ij")
        self.register_buffer("background", torch.stack(places)[None])

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        rows = codes.shape[1]
        assert rows <= self.grid[0] and codes.shape[2] == self.grid[1], f"codes {codes.shape} on a grid of {self.grid}"
        x, condition = self.input(codes), self.condition(labels)[:, :, :rows]
        background = self.background[:, :, :rows].expand(len(codes), -1, -1, -1)
        for block in self.blocks:
            x = block(x, background, condition)
        logits: Tensor = self.out(F.elu(x))
        return logits


class InputConvs(nn.Module):
    """codes (B, rows, cols) -> (B, C, rows, cols): the two first convolutions on one-hot words, summed.

    `horizontal` sees the rows above, `vertical` the cols to the left in the same rows and its own. Together they are one
    kernel; as its input is one-hot, it is a sum of looked-up rows of the weights, a row for each tap that is not dead.
    """

    def __init__(self, words: int, channels: int, kernel: Size) -> None:
        super().__init__()
        self.words, self.kernel = words, kernel
        self.horizontal = weight_norm(nn.Conv2d(words, channels, (kernel[0] // 2, kernel[1])))
        self.vertical = weight_norm(nn.Conv2d(words, channels, ((kernel[0] + 1) // 2, kernel[1] // 2)))

    @property
    def taps(self) -> list[Size]:
        """(rows up, cols to the right) of every tap in raster order, those of the row itself last."""
        up, aside = self.kernel[0] // 2, self.kernel[1] // 2
        above = [(row, col) for row in range(up, 0, -1) for col in range(-aside, aside + 1)]
        return above + [(0, col) for col in range(-aside, 0)]

    def table(self) -> Tensor:
        """(taps * (words + 1), C): what each word adds at each tap; the last word of every tap, the border, adds zeros."""
        aside = self.kernel[1] // 2
        kernel = F.pad(self.horizontal.weight, (0, 0, 0, 1)) + F.pad(self.vertical.weight, (0, aside + 1))
        taps = kernel.permute(2, 3, 1, 0).flatten(0, 1)[: len(self.taps)]
        return F.pad(taps, (0, 0, 0, 1)).flatten(0, 1)

    def bias(self, rows: int, cols: int) -> Tensor:
        """(rows, cols, C): each convolution's output is moved by one place, so the first row and the first col lack a bias."""
        below, right = (torch.arange(size, device=self.horizontal.bias.device) > 0 for size in (rows, cols))
        return below[:, None, None] * self.horizontal.bias + right[:, None] * self.vertical.bias

    def indices(self, codes: Tensor) -> Tensor:
        """codes (B, rows, cols) -> rows of the table (B, rows, cols, taps)"""
        (rows, cols), up, aside = codes.shape[1:], self.kernel[0] // 2, self.kernel[1] // 2
        padded = F.pad(codes, (aside, aside, up, 0), value=self.words)
        seen = [padded[:, up - row : up - row + rows, aside + col : aside + col + cols] for row, col in self.taps]
        first = torch.arange(len(seen), device=codes.device) * (self.words + 1)
        return torch.stack(seen, dim=-1) + first

    def forward(self, codes: Tensor) -> Tensor:
        indices = self.indices(codes)
        found = F.embedding_bag(indices.flatten(0, 2), self.table(), mode="sum").view(*codes.shape, -1)
        return (found + self.bias(*codes.shape[1:])).permute(0, 3, 1, 2)


class ConditionMap(nn.Module):
    """labels (B,) -> (B, 1, rows, cols): linear layers on the one-hot label with nothing between them, as in the baseline."""

    def __init__(self, num_classes: int, width: int, grid: Size) -> None:
        super().__init__()
        self.num_classes, self.grid = num_classes, grid
        widths = (num_classes, width, width, width, grid[0] * grid[1])
        self.layers = nn.Sequential(*(nn.Linear(ins, outs) for ins, outs in pairwise(widths)))

    def forward(self, labels: Tensor) -> Tensor:
        made: Tensor = self.layers(F.one_hot(labels, self.num_classes).float())
        return made.view(-1, 1, *self.grid)


class ConditionVector(nn.Module):
    """labels (B,) -> (B, width, 1, 1): a vector for each class, the same everywhere on a grid of any size."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.classes = nn.Embedding(num_classes, width)

    def forward(self, labels: Tensor) -> Tensor:
        return self.classes(labels)[:, :, None, None]


class LiveTaps(nn.Module):
    """Weight norm whose dead taps are zero, for their direction is, at every step; the norm is that of the live taps."""

    live: Tensor

    def __init__(self, live: Tensor) -> None:
        super().__init__()
        self.register_buffer("live", live, persistent=False)

    def forward(self, size: Tensor, direction: Tensor) -> Tensor:
        return torch._weight_norm(direction * self.live, size, 0)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return torch.norm_except_dim(weight * self.live, 2, 0), weight


class CausalConv2d(nn.Conv2d):
    """x (B, I, rows, cols) -> (B, O, rows, cols): in its own row it sees the cols to the left only, not the centre."""

    def __init__(self, ins: int, outs: int, kernel: Size) -> None:
        super().__init__(ins, outs, kernel)
        live = torch.ones(kernel)
        live[-1, kernel[1] // 2 :] = 0
        parametrize.register_parametrization(self, "weight", LiveTaps(live))

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.kernel_size
        # The bottom row's right half is dead, so where a whole row is read at once the border on the right is the same.
        return F.conv2d(F.pad(x, (width // 2, width // 2, height - 1, 0)), self.weight, self.bias)


class GatedResidual(nn.Module):
    """x (B, C, rows, cols) -> the same shape: two convolutions, what is given beside x, a gate, and x itself."""

    def __init__(
        self, channels: int, hidden: int, dropout: float, kernel: Size | None = None, beside: int = 0, condition: int = 0
    ) -> None:
        super().__init__()

        def conv(ins: int, outs: int) -> nn.Conv2d:
            return CausalConv2d(ins, outs, kernel) if kernel else weight_norm(nn.Conv2d(ins, outs, 1))

        self.conv1, self.conv2 = conv(channels, hidden), conv(hidden, 2 * channels)
        self.beside = weight_norm(nn.Conv2d(beside, hidden, 1)) if beside else None
        self.condition = weight_norm(nn.Conv2d(condition, 2 * channels, 1, bias=False)) if condition else None
        self.dropout = dropout

    def forward(self, x: Tensor, beside: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        hidden = self.conv1(F.elu(x))
        if self.beside is not None and beside is not None:
            hidden = hidden + self.beside(F.elu(beside))
        gated = self.conv2(F.dropout(F.elu(hidden), self.dropout, self.training))
        if self.condition is not None and condition is not None:
            gated = gated + self.condition(condition)
        return F.glu(gated, dim=1) + x


class Attention(nn.Module):
    """queries, keys (B, channels, rows, cols) -> (B, heads * width, rows, cols): each place attends strictly earlier ones.

    The first place, which has none, gets zeros.
    """

    def __init__(self, query_channels: int, key_channels: int, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = weight_norm(nn.Linear(query_channels, heads * width))
        self.key, self.value = (weight_norm(nn.Linear(key_channels, heads * width)) for _ in range(2))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        def heads(flat: Tensor) -> Tensor:
            return flat.view(*flat.shape[:2], self.heads, -1).transpose(1, 2)

        asked, known = (flat.flatten(2).transpose(1, 2) for flat in (queries, keys))
        query, key, value = heads(self.query(asked)), heads(self.key(known)), heads(self.value(known))
        # Query i + 1 over keys 0..i is what plain causal attention does, once the queries are moved by one place.
        found = F.scaled_dot_product_attention(
            query[:, :, 1:], key[:, :, :-1], value[:, :, :-1], dropout_p=self.dropout if self.training else 0.0, is_causal=True
        )
        return F.pad(found, (0, 0, 1, 0)).transpose(2, 3).reshape(len(queries), -1, *queries.shape[2:])


class Block(nn.Module):
    """x (B, C, rows, cols) -> the same shape: causal residual blocks, then attention, which also knows places."""

    def __init__(self, settings: PixelSNAILSettings, condition: int) -> None:
        super().__init__()
        channels, hidden, dropout = settings.channels, settings.residual_channels, settings.dropout
        self.resblocks = nn.ModuleList(
            GatedResidual(channels, hidden, dropout, settings.kernel, condition=condition) for _ in range(settings.resblocks)
        )
        query, key, width = channels + 2, 2 * channels + 2, settings.heads * settings.head_width
        self.key, self.query = GatedResidual(key, channels, dropout), GatedResidual(query, channels, dropout)
        self.attention = Attention(query, key, settings.heads, settings.head_width, settings.attention_dropout)
        self.out = GatedResidual(channels, channels, dropout, beside=width)

    def forward(self, x: Tensor, background: Tensor, condition: Tensor) -> Tensor:
        out = x
        for resblock in self.resblocks:
            out = resblock(out, condition=condition)
        key, query = self.key(torch.cat([x, out, background], 1)), self.query(torch.cat([out, background], 1))
        result: Tensor = self.out(out, self.attention(query, key))
        return result
