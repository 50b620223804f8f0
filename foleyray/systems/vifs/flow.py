"""The normalising flow between the latents of the posterior and those of the prior: volume-preserving and invertible."""

import torch
from torch import Tensor, nn

from foleyray.systems.vifs.wavenet import WaveNet


class Coupling(nn.Module):
    """x (B, hidden, T) -> the same with its second half moved by what the first half and the condition (B, hidden) say.

    Mean-only, as in VITS (Kim, Kong and Son, 2021): nothing is scaled, the log-determinant is 0. A fresh one is the identity.
    """

    def __init__(self, hidden: int, layers: int, kernel: int) -> None:
        super().__init__()
        self.pre = nn.Conv1d(hidden // 2, hidden, 1)
        self.wavenet = WaveNet(hidden, layers, kernel, condition=hidden)
        self.post = nn.Conv1d(hidden, hidden // 2, 1)
        nn.init.zeros_(self.post.weight)
        assert self.post.bias is not None
        nn.init.zeros_(self.post.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        kept, moved = x.chunk(2, dim=1)
        return torch.cat([kept, moved + self._shift(kept, condition)], dim=1)

    def inverse(self, x: Tensor, condition: Tensor) -> Tensor:
        kept, moved = x.chunk(2, dim=1)
        return torch.cat([kept, moved - self._shift(kept, condition)], dim=1)

    def _shift(self, kept: Tensor, condition: Tensor) -> Tensor:
        return self.post(self.wavenet(self.pre(kept), condition))


class Flow(nn.Module):
    """z (B, hidden, T) and condition (B, hidden) -> z_p (B, hidden, T): couplings, and a flip of the channels after each."""

    def __init__(self, hidden: int, flows: int, layers: int, kernel: int) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(hidden, layers, kernel) for _ in range(flows))

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        for coupling in self.couplings:
            z = coupling(z, condition).flip(1)
        return z

    def inverse(self, z_p: Tensor, condition: Tensor) -> Tensor:
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            z_p = coupling.inverse(z_p.flip(1), condition)
        return z_p
