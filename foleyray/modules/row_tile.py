"""A tile of grids that are sampled together: what their network has computed so far, and the step to the next place.

Axes: N causal residual blocks of the network, `size` grids of the tile, of which the first `live` are asked for, C channels.

Only what is new is computed. When a row is done, what it adds to the next through the taps above is one product of matrices
for each convolution. Within a row, neither convolution of a causal residual block sees its own column: what the block adds at
columns c and c + 1 follows from its input at c - 1 and before. So the columns go through the convolutions by twos, all N
blocks of the network at once, and only attention with what surrounds it is taken column by column.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from foleyray.modules.row_weights import AttentionWeights, CausalWeights, RowWeights, convolve


class Tile:
    """The grids of `labels` (live,), all at one place: `begin_row`, `logits` and `write` at each column, then `end_row`."""

    def __init__(self, weights: RowWeights, labels: Tensor, size: int) -> None:
        self.weights, self.size, self.live = weights, size, len(labels)
        settings, (rows, cols) = weights.settings, weights.grid
        (height, across), channels, hidden = settings.kernel, settings.channels, settings.residual_channels
        count, self.aside, self.up = settings.blocks * settings.resblocks, across // 2, height // 2
        self.left = self.aside + 1

        def zeros(*shape: int, dtype: torch.dtype = weights.dtype) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=labels.device)

        # Of the row at hand, with a border on either side: what goes into the first and the second convolutions, and what
        # comes out of these. Before a column is reached, `hidden` and `gated` hold what the rows above give them.
        columns = self.left + cols + self.aside
        self.inputs, self.hidden = zeros(count, columns, size, channels), zeros(count, columns, size, hidden)
        self.gated = zeros(count, cols + 1, size, 2 * channels)
        # Of the rows above, the oldest making room for the newest.
        self.inputs_above = zeros(count, self.live, height - 1, cols + 2 * self.aside, channels)
        self.hidden_above = zeros(count, self.live, height - 1, cols + 2 * self.aside, hidden)
        # In float32 always: how products of bfloat16 are rounded may depend on how many heads there are in all.
        heads, width, places = self.live * settings.heads, settings.head_width, rows * cols
        self.keys = zeros(settings.blocks, heads, width, places, dtype=torch.float32)
        self.values = zeros(settings.blocks, heads, places, width, dtype=torch.float32)
        self.start = zeros(cols, size, channels)
        self.stream = zeros(settings.resblocks + 1, size, channels)
        self.added = zeros(settings.blocks, settings.resblocks, 2, size, channels)
        self.codes = torch.full((self.live, rows + self.up, cols + 2 * self.aside), weights.words, device=labels.device)
        self.labels = F.pad(labels, (0, size - self.live))
        self.tap_first = torch.arange(len(weights.taps), device=labels.device) * (weights.words + 1)

    def begin_row(self, row: int) -> None:
        weights, cols = self.weights, self.weights.grid[1]
        seen = [
            self.codes[:, self.up + row - up, self.aside + right : self.aside + right + cols]
            for up, right in weights.taps
            if up
        ]
        indices = torch.stack(seen, dim=-1) + self.tap_first[: len(seen)]
        looked_up = F.embedding_bag(indices.flatten(0, 1), weights.table, mode="sum")
        self.start.copy_(weights.input_bias[row, :, None])
        self.start[:, : self.live] += looked_up.view(self.live, cols, -1).transpose(0, 1)
        conditions = weights.conditions[row % len(weights.conditions)][:, self.labels]
        for index, gate in enumerate(weights.gates):
            self.gated[index, :cols] = conditions @ gate + weights.second.bias[index]
        self.hidden[:, self.left : self.left + cols] = weights.first.bias[:, None, None]
        if row:
            self._add_above(weights.first, self.inputs_above, self.hidden[:, self.left : self.left + cols], row)
            self._add_above(weights.second, self.hidden_above, self.gated[:, :cols], row)

    def _add_above(self, weights: CausalWeights, above: Tensor, target: Tensor, row: int) -> None:
        """Grid by grid, so that a grid's numbers do not depend on how many there are."""
        depth = above.shape[2]
        oldest_first = [past % depth for past in range(row, row + depth)]
        for index, kernel in enumerate(weights.above):
            for item in range(self.live):
                rows = torch.stack([above[index, item, slot] for slot in oldest_first])[None].permute(0, 3, 1, 2)
                target[index, :, item] += convolve(rows, kernel)[0, :, 0].T

    def logits(self, row: int, col: int) -> Tensor:
        """The logits (live, words) of the next place; the words before it are written."""
        if col % 2 == 0:
            self._pass_two_columns(col)
        weights = self.weights
        torch.add(self.start[col], 0, out=self.stream[0])
        left = self.codes[:, self.up + row, col : col + self.aside] + self.tap_first[-self.aside :]
        self.stream[0, : self.live] += F.embedding_bag(left, weights.table, mode="sum")
        place = row * weights.grid[1] + col
        for block, attention in enumerate(weights.attention):
            self._pass_block(block, attention, place, col)
        bias, matrix = weights.out
        return torch.addmm(bias, F.elu(self.stream[0]), matrix)[: self.live].float()

    def write(self, row: int, col: int, words: Tensor) -> None:
        """words (live,)"""
        self.codes[:, self.up + row, self.aside + col] = words

    def grids(self) -> Tensor:
        """All words that are written, (live, rows, cols)."""
        return self.codes[:, self.up :, self.aside : -self.aside]

    def end_row(self, row: int) -> None:
        cols, depth = self.weights.grid[1], self.inputs_above.shape[2]
        if cols % 2 == 0:
            self._hide_two_columns(cols)
        for current, above in ((self.inputs, self.inputs_above), (self.hidden, self.hidden_above)):
            whole = current[:, self.left : self.left + cols, : self.live]
            above[:, :, row % depth, self.aside : self.aside + cols] = whole.transpose(1, 2)

    def _pass_two_columns(self, col: int) -> None:
        """What every causal residual block adds to its input at `col` and `col` + 1, summed up within each block."""
        self._hide_two_columns(col)
        gated = self.gated[:, col : col + 2].flatten(1, 2)
        for tap, matrices in enumerate(self.weights.second.left):
            gated.baddbmm_(self.hidden[:, col + 1 + tap : col + 3 + tap].flatten(1, 2), matrices)
        torch.cumsum(F.glu(gated, dim=2).view_as(self.added), dim=1, out=self.added)

    def _hide_two_columns(self, col: int) -> None:
        """What goes into the second convolutions at `col` - 1 and `col`; in the border this is and stays zero."""
        hidden = self.hidden[:, self.left + col - 1 : self.left + col + 1].flatten(1, 2)
        for tap, matrices in enumerate(self.weights.first.left):
            hidden.baddbmm_(self.inputs[:, col + tap : col + tap + 2].flatten(1, 2), matrices)
        F.elu(hidden, inplace=True)

    def _pass_block(self, block: int, weights: AttentionWeights, place: int, col: int) -> None:
        """Takes `stream[0]` through one block; the inputs of its residual blocks are kept."""
        stream, channels, count = self.stream, self.stream.shape[2], len(self.stream) - 1
        torch.add(self.added[block, :, col % 2], stream[0], out=stream[1:])
        activated = F.elu(stream)
        self.inputs[block * count : (block + 1) * count, self.left + col] = activated[:-1]
        hidden = torch.addmm(weights.hidden_bias[place], activated[-1], weights.from_output)
        hidden[:, :channels].addmm_(activated[0], weights.from_input)
        background = self.weights.background[place].expand(self.size, -1)
        beside = torch.cat([stream[0], stream[-1], background], dim=1)
        pair = F.elu(hidden[:, : 2 * channels])
        known = F.glu(torch.addmm(weights.key[0], pair[:, :channels], weights.key[1])).add_(beside)
        asked = F.glu(torch.addmm(weights.query[0], pair[:, channels:], weights.query[1])).add_(beside[:, channels:])
        result = hidden[:, 2 * channels :]
        if place:
            result.addmm_(F.elu(self._attend(block, weights, asked, place)), weights.found)
        self._remember(block, weights, known, place)
        gated = torch.addmm(weights.result[0], F.elu(result), weights.result[1])
        torch.add(F.glu(gated), stream[-1], out=stream[0])

    def _attend(self, block: int, weights: AttentionWeights, asked: Tensor, place: int) -> Tensor:
        queries = torch.addmm(weights.queries[0], asked, weights.queries[1])
        heads = queries[: self.live].float().view(self.keys.shape[1], 1, -1)
        shares = torch.softmax(torch.bmm(heads, self.keys[block, :, :, :place]), dim=2)
        found = torch.zeros_like(queries)
        found[: self.live] = torch.bmm(shares, self.values[block, :, :place]).view(self.live, -1)
        return found

    def _remember(self, block: int, weights: AttentionWeights, known: Tensor, place: int) -> None:
        keys, values = torch.addmm(weights.keys_values[0], known, weights.keys_values[1])[: self.live].chunk(2, dim=1)
        self.keys[block, :, :, place] = keys.reshape(self.keys.shape[1:3])
        self.values[block, :, place] = values.reshape(self.keys.shape[1:3])
