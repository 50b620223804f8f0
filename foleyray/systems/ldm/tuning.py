"""The tuning layer: one linear map between the vector of a text and the denoiser, trained with it; and its settings."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.config import Config


class TuningSettings(Config):
    per_class: bool = Field(False, description="a layer for each class, in the place of one for all")
    std: float = Field(0.01, ge=0, description="of the bias at first; an entry of a unit vector of 512 is about 0.044")
    renorm: bool = Field(False, description="back to unit length after the layer")


class TuningLayer(nn.Module):
    """Vectors (B, D) of texts, classes (B,) -> conditions (B, D). The identity at first, up to the bias."""

    def __init__(self, settings: TuningSettings, width: int, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        layers = num_classes if settings.per_class else 1
        self.weight = nn.Parameter(torch.eye(width).repeat(layers, 1, 1))
        self.bias = nn.Parameter(settings.std * torch.randn(layers, width))

    def forward(self, text: Tensor, label: Tensor) -> Tensor:
        layer = label if self.settings.per_class else torch.zeros_like(label)
        tuned = torch.einsum("bij,bj->bi", self.weight[layer], text) + self.bias[layer]
        return F.normalize(tuned, dim=1) if self.settings.renorm else tuned
