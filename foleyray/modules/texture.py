"""What a decoder smooths away, word by word, so that it can be put back as noise.

A decoder trained on squared error gives the mean of what a word stands for. How far clips lie from it is remembered here.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F


class Texture(nn.Module):
    """Root mean square of the residual for each word, an exponential moving average over the training.

    Every cell of a mel belongs to one code; `factor` is the number of bands, and of frames, that one code stands for.
    """

    squares: Tensor
    counts: Tensor

    def __init__(self, words: int, factor: int, decay: float) -> None:
        super().__init__()
        self.factor, self.decay = factor, decay
        self.register_buffer("squares", torch.zeros(words))
        self.register_buffer("counts", torch.zeros(words))

    @torch.no_grad()
    def learn(self, residual: Tensor, codes: Tensor) -> None:
        """residual (B, bands, frames) of a training batch, its codes (B, H, W). Every worker must call it."""
        patches = F.avg_pool2d(residual.float().square().unsqueeze(1), self.factor).flatten()
        found = self.squares.new_zeros(len(self.squares), 2)
        found.index_add_(0, codes.flatten(), torch.stack([patches, torch.ones_like(patches)], dim=1))
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(found)
        self.squares.lerp_(found[:, 0], 1 - self.decay)
        self.counts.lerp_(found[:, 1], 1 - self.decay)

    def forward(self, codes: Tensor) -> Tensor:
        """codes (B, H, W) -> (B, bands, frames), the spread of every cell; zero for words that training never met."""
        spread = torch.where(self.counts > 0, self.squares / self.counts, 0.0).sqrt()
        return spread[codes].repeat_interleave(self.factor, 1).repeat_interleave(self.factor, 2)
