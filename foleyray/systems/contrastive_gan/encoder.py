"""The encoder f of the C-SupCon losses: a ResNet-18 on one-channel mels, with a projection to the unit sphere."""

from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.systems.contrastive_gan.config import Encoder


class ResNetEncoder(nn.Module):
    """mel (B, 1, bands, frames) in [-1, 1] -> embedding (B, projection) of unit norm."""

    def __init__(self, settings: Encoder, projection: int) -> None:
        super().__init__()
        # Imported here because it takes seconds, and only two of the four losses have an encoder.
        from transformers import ResNetConfig, ResNetModel

        hidden = list(settings.hidden)
        layout = ResNetConfig(
            num_channels=1, embedding_size=hidden[0], hidden_sizes=hidden, depths=[2] * len(hidden), layer_type="basic"
        )
        self.backbone = ResNetModel(layout)
        self.projection = nn.Linear(hidden[-1], projection)

    def forward(self, mel: Tensor) -> Tensor:
        return F.normalize(self.projection(self.features(mel)), dim=1)

    def features(self, mel: Tensor) -> Tensor:
        """mel (B, 1, bands, frames) -> the pooled features (B, hidden[-1]) that a linear probe reads"""
        pooled: Tensor = self.backbone(mel).pooler_output
        return pooled.flatten(1)
