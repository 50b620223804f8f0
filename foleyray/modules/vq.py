"""Vector quantisation: the nearest codeword with a straight-through gradient, and a codebook that follows its latents.

Method: van den Oord et al., "Neural discrete representation learning", 2017, appendix A.1 (exponential moving averages).
Shapes: B clips, D the width of a word, H rows and W columns of the grid.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

SMOOTHING = 1e-5
"""Added to every count (Laplace), so that a word that nothing falls on is not divided by zero."""


class Quantised(NamedTuple):
    latents: Tensor
    """float32 (B, D, H, W): the codewords, with the gradient of the latents they stand for."""
    codes: Tensor
    """int64 (B, H, W)"""
    commitment: Tensor
    """Scalar: mean squared difference between latents and their codewords, which are held fixed."""


class Quantiser(nn.Module):
    """The codebook is a buffer without gradient. Only `learn` changes it: quantising never does, in either mode.

    Everything is computed in float32, whatever the precision around it: expanded squares cancel in half precision.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor
    idle: Tensor

    def __init__(self, words: int, width: int, decay: float = 0.99, restart_after: int | None = None) -> None:
        """A word that no latent has fallen on for `restart_after` updates is put onto one of them; None: it is left alone."""
        super().__init__()
        self.decay, self.restart_after = decay, restart_after
        codebook = torch.randn(words, width)
        self.register_buffer("codebook", codebook)
        # A first word counts as the mean of one vector, so that it stays where it is until a latent falls on it.
        self.register_buffer("counts", torch.ones(words))
        self.register_buffer("sums", codebook.clone())
        self.register_buffer("idle", torch.zeros(words, dtype=torch.long))

    def forward(self, latents: Tensor) -> Quantised:
        """latents (B, D, H, W) of any precision -> their nearest words."""
        latents = latents.float()
        codes = self.nearest(latents)
        words = self.lookup(codes)
        # The difference is zero: the value is the word to its last bit, the gradient goes to the latent.
        return Quantised(words + (latents - latents.detach()), codes, F.mse_loss(latents, words))

    @torch.no_grad()
    def nearest(self, latents: Tensor) -> Tensor:
        """latents (B, D, H, W) -> codes (B, H, W) of the words at the least Euclidean distance."""
        batch, _, height, width = latents.shape
        with torch.autocast(latents.device.type, enabled=False):
            # |z - w|^2 less |z|^2, which is the same for every word.
            distances = torch.addmm(self.codebook.square().sum(dim=1), _rows(latents), self.codebook.T, alpha=-2)
        return distances.argmin(dim=1).view(batch, height, width)

    def lookup(self, codes: Tensor) -> Tensor:
        """codes (B, H, W) -> words (B, D, H, W)"""
        return F.embedding(codes, self.codebook).permute(0, 3, 1, 2)

    @torch.no_grad()
    def learn(self, latents: Tensor, codes: Tensor, draws: torch.Generator) -> None:
        """One update by the latents (B, D, H, W) of a batch and their codes (B, H, W), over all workers of the training.

        Every worker must call it, and all codebooks stay the same. Restarted words are drawn with `draws` of rank 0.
        """
        assert self.training, "a codebook learns in training mode only"
        rows = _rows(latents)
        # Sums and, in a last column, counts: together they need one exchange.
        found = self.sums.new_zeros(len(self.sums), self.sums.shape[1] + 1)
        found.index_add_(0, codes.flatten(), F.pad(rows, (0, 1), value=1.0))
        if _in_company():
            dist.all_reduce(found)
        self.sums.lerp_(found[:, :-1], 1 - self.decay)
        self.counts.lerp_(found[:, -1], 1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + SMOOTHING) * (total / (total + len(self.counts) * SMOOTHING))
        self.codebook.copy_(self.sums / smoothed[:, None])
        self.idle.add_(1).masked_fill_(found[:, -1] > 0, 0)
        if self.restart_after is not None:
            self._restart(self.idle >= self.restart_after, rows, draws)

    def _restart(self, dead: Tensor, rows: Tensor, draws: torch.Generator) -> None:
        """Puts the dead words (words,) onto random rows (N, D). As many are drawn whatever has died: no device need wait."""
        drawn = rows[torch.randint(len(rows), (len(dead),), generator=draws, device=rows.device)]
        if _in_company():
            dist.broadcast(drawn, src=0)
        for values in (self.codebook, self.sums):
            values.copy_(torch.where(dead[:, None], drawn, values))
        self.counts.masked_fill_(dead, 1.0)
        self.idle.masked_fill_(dead, 0)


def usage(codes: Tensor, words: int) -> tuple[Tensor, Tensor]:
    """Codes of any shape -> perplexity, the exponential of the entropy of how often each word occurs; number of words used."""
    counts = torch.bincount(codes.flatten(), minlength=words)
    return torch.exp(torch.special.entr(counts / codes.numel()).sum()), (counts > 0).sum().float()


def _rows(latents: Tensor) -> Tensor:
    """(B, D, H, W) -> float32 (B H W, D)"""
    return latents.float().permute(0, 2, 3, 1).flatten(0, 2)


def _in_company() -> bool:
    return dist.is_available() and dist.is_initialized()
