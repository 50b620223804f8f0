"""How a class reaches a network: batch norm whose gain and bias are read from a condition vector."""

import torch
from torch import Tensor, nn


class ConditionalBatchNorm2d(nn.Module):
    """x (B, channels, H, W), condition (B, D) -> x normalised over the batch, times 1 + gain(condition), plus bias(condition).

    Dumoulin et al., "A learned representation for artistic style", 2017, with the linear maps of BigGAN (Brock et al., 2019).
    """

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Linear(condition, channels)
        self.bias = nn.Linear(condition, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, bias = self.gain(condition), self.bias(condition)
        return torch.addcmul(bias[:, :, None, None], self.norm(x), 1 + gain[:, :, None, None])
