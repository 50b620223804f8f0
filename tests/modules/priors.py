"""Small PixelSNAILs with weights that give uneven logits, and the plain way to sample them."""

import torch
from torch import Tensor

from foleyray.modules.draws import Draws
from foleyray.modules.pixelsnail import PixelSNAIL, PixelSNAILSettings

SMALL = {
    "channels": 16,
    "residual_channels": 24,
    "blocks": 2,
    "resblocks": 2,
    "heads": 2,
    "head_width": 4,
    "condition_width": 8,
}


def small(grid: tuple[int, int] = (6, 10), words: int = 12, **changes: object) -> PixelSNAIL:
    """A network of 3 classes in evaluation mode; the same one for the same arguments."""
    return made(PixelSNAILSettings.model_validate(SMALL | changes), grid, words, 3)


def made(settings: PixelSNAILSettings, grid: tuple[int, int], words: int, num_classes: int) -> PixelSNAIL:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = PixelSNAIL(settings, grid, words, num_classes)
    with torch.no_grad():
        prior.out.parametrizations.weight.original0.mul_(4)
    return prior.eval().requires_grad_(False)


def grids(prior: PixelSNAIL, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random codes (count, rows, cols), and labels (count,)."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(prior.words, (count, *prior.grid), generator=generator)
    return codes, torch.arange(count) % prior.num_classes


@torch.no_grad()
def plain_sample(prior: PixelSNAIL, labels: Tensor, draws: Draws) -> Tensor:
    """The whole network again for every place, over the rows so far."""
    rows, cols = prior.grid
    codes = torch.zeros(len(labels), rows, cols, dtype=torch.long)
    for place in range(rows * cols):
        row, col = divmod(place, cols)
        codes[:, row, col] = draws.words(prior(codes[:, : row + 1], labels)[:, :, row, col], place)
    return codes
