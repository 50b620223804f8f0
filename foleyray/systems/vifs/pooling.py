"""Self-attentive pooling: the latents of a clip compressed into one vector, which carries what holds for the whole clip."""

import torch
from torch import Tensor, nn


class SelfAttentivePooling(nn.Module):
    """z and mean (B, hidden, T) -> (B, hidden): each channel of z averaged over time with weights that the mean decides.

    After Cai, Chen and Li (2018); the means attend, the drawn values are pooled (the paper, section 2.5).
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.attention = nn.Conv1d(hidden, hidden, 1)

    def forward(self, z: Tensor, mean: Tensor) -> Tensor:
        return (z * self.weights(mean)).sum(dim=2)

    def weights(self, mean: Tensor) -> Tensor:
        """mean (B, hidden, T) -> float32 of the same shape, which sums to 1 over time in every channel."""
        return torch.tanh(self.attention(mean)).float().softmax(dim=2)
