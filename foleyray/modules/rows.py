"""Sampling a PixelSNAIL row by row, computing nothing twice: the logits of the plain network at a small part of its cost."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from foleyray.config import UserError
from foleyray.modules.draws import Draws
from foleyray.modules.pixelsnail import PixelSNAIL
from foleyray.modules.row_tile import Tile
from foleyray.modules.row_weights import RowWeights
from foleyray.modules.threads import single_threads

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}
SIZES = (4, 8, 16)
"""Grids of a tile, whose columns go through the network together. How a product of matrices is rounded may depend on its shape,
and a grid must have the same bits in any company: the smaller sizes serve only where they are seen to round as the largest."""
TRIAL_COLUMNS = 6

Choose = Callable[[Tensor, int], Tensor]
"""(logits (live, words), place) -> words (live,)"""


class RowSampler:
    """Grids of words from a trained network; one seed gives one grid, alone or among others, on any number of cores."""

    def __init__(self, prior: PixelSNAIL, device: torch.device, precision: Literal["float32", "bf16"] = "float32") -> None:
        """Takes the network to the device; raises UserError where the precision is unknown."""
        if precision not in PRECISIONS:
            raise UserError(f"precision '{precision}' is not known; use one of {', '.join(PRECISIONS)}")
        assert not prior.training, "dropout would spoil every grid; call eval() first"
        self.device = device
        with single_threads(1) as thread:
            self.weights = thread.submit(RowWeights, prior.to(device), PRECISIONS[precision]).result()
            self.sizes = [size for size in SIZES[:-1] if thread.submit(self._rounds_alike, size).result()] + [SIZES[-1]]

    def sample(
        self,
        labels: Tensor,
        temperature: Sequence[float],
        top_k: Sequence[int],
        top_p: Sequence[float],
        seeds: Sequence[int],
    ) -> Tensor:
        """labels (B,), and B of each setting (see `Draws`) -> codes int64 (B, rows, cols)"""
        places = self.weights.grid[0] * self.weights.grid[1]

        def one(part: range) -> Tensor:
            settings = (values[part.start : part.stop] for values in (temperature, top_k, top_p, seeds))
            draws = Draws(*settings, places=places, device=self.device)  # type: ignore[arg-type]
            return self._walk(labels[part.start : part.stop], draws.words)

        return self._shared_out(len(labels), one)

    def logits(self, codes: Tensor, labels: Tensor) -> Tensor:
        """codes (B, rows, cols), labels (B,) -> (B, words, rows, cols), on the way that sampling takes."""

        def one(part: range) -> Tensor:
            given, found = codes[part.start : part.stop].flatten(1).to(self.device), []

            def choose(logits: Tensor, place: int) -> Tensor:
                found.append(logits.cpu())
                return given[:, place]

            self._walk(labels[part.start : part.stop], choose)
            return torch.stack(found, dim=2).view(len(given), -1, *self.weights.grid)

        return self._shared_out(len(codes), one)

    def _shared_out(self, count: int, one: Callable[[range], Tensor]) -> Tensor:
        """Tiles as even as can be over the threads that there are."""
        with single_threads() as threads:
            cores = torch.get_num_threads() if self.device.type == "cpu" else 1
            tiles = min(count, -(-count // (SIZES[-1] * cores)) * cores)
            edges = [count * index // tiles for index in range(tiles + 1)]
            return torch.cat(list(threads.map(one, map(range, edges, edges[1:]))))

    @torch.inference_mode()
    def _walk(self, labels: Tensor, choose: Choose) -> Tensor:
        size = next(size for size in self.sizes if size >= len(labels))
        tile = Tile(self.weights, labels.to(self.device), size)
        rows, cols = self.weights.grid
        for row in range(rows):
            tile.begin_row(row)
            for col in range(cols):
                tile.write(row, col, choose(tile.logits(row, col), row * cols + col))
            tile.end_row(row)
        return tile.grids().cpu()

    @torch.inference_mode()
    def _rounds_alike(self, size: int) -> bool:
        """Whether a tile of `size` has the bits of the largest, by the first columns of a grid."""
        label, cols = torch.zeros(1, dtype=torch.long, device=self.device), min(TRIAL_COLUMNS, self.weights.grid[1])
        tiles = [Tile(self.weights, label, either) for either in (size, SIZES[-1])]
        for tile in tiles:
            tile.begin_row(0)
        for col in range(cols):
            small, large = (tile.logits(0, col) for tile in tiles)
            if not torch.equal(small, large):
                return False
            for tile in tiles:
                tile.write(0, col, label + col % self.weights.words)
        return True
