"""Drawing words from logits: temperature, top-k, top-p (Holtzman et al., 2020), each item with numbers of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Draws:
    """How each of B items draws its words, and the random numbers it will use: one for each place, from its seed alone.

    `temperature` 0 takes the likeliest word. `top_k` keeps so many of the likeliest words (all, where there are no more), then
    `top_p` the fewest of them that have this share of the probability between them.
    """

    def __init__(
        self,
        temperature: Sequence[float],
        top_k: Sequence[int],
        top_p: Sequence[float],
        seeds: Sequence[int],
        *,
        places: int,
        device: torch.device,
    ) -> None:
        assert len(temperature) == len(top_k) == len(top_p) == len(seeds)
        assert min(temperature) >= 0 and min(top_k) >= 1 and min(top_p) > 0
        greedy = [value == 0 for value in temperature]

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device=device)[:, None]

        self.temperature = column([value or 1.0 for value in temperature])
        self.top_k = column([1 if least else k for least, k in zip(greedy, top_k, strict=True)])
        self.top_p = column(top_p)
        self.fewest, self.cuts_share = int(self.top_k.min()), min(top_p) < 1
        # In float32 a number is at most 1 - 2^-24, so that its product with a sum in float64 stays below the sum.
        rows = [torch.rand(places, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        self.uniform = torch.stack(rows).double().to(device)

    def words(self, logits: Tensor, place: int) -> Tensor:
        """logits (B, words) -> int64 (B,), by inverting the cumulative distribution of the words that are kept."""
        shares = torch.softmax(logits.double() / self.temperature, dim=1)
        if self.cuts_share or self.fewest < shares.shape[1]:
            shares = shares * self._is_kept(shares)
        cumulative = shares.cumsum(dim=1)
        return (cumulative <= self.uniform[:, place, None] * cumulative[:, -1:]).sum(dim=1)

    def _is_kept(self, shares: Tensor) -> Tensor:
        ranked, order = shares.sort(dim=1, descending=True, stable=True)
        is_kept = torch.arange(shares.shape[1], device=shares.device) < self.top_k
        ranked = ranked * is_kept
        cumulative = ranked.cumsum(dim=1)
        # At 1 all stay, also the rare words that are lost in the rounding of the sum.
        is_kept &= (self.top_p >= 1) | (cumulative - ranked < self.top_p * cumulative[:, -1:])
        return torch.zeros_like(is_kept).scatter(1, order, is_kept)
