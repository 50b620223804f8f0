"""The network that tells the noise in a latent: diffusers' UNet2DConditionModel with AudioLDM's condition.

The condition is a vector that goes with the time into every residual block (FiLM); attention is self-attention alone.
"""

from typing import Any, Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.config import Config


class DenoiserSettings(Config):
    """The layout of the UNet; the defaults are LDM-S's."""

    widths: tuple[int, ...] = Field((128, 256, 384, 640), min_length=1, description="channels; each level but the last halves")
    blocks: int = Field(2, ge=1, description="residual blocks a level")
    attention: tuple[bool, ...] = Field((False, True, True, True), description="levels with self-attention; the middle has it")
    heads: int | tuple[int, ...] = Field((4, 8, 12, 20), description="of the attention; published AudioLDMs: 8")
    groups: int = Field(32, ge=1, description="of the normalisation; divides every width")
    condition_width: int = Field(512, ge=1, description="numbers in a condition, which is a vector of clap")

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        levels = len(self.widths)
        if len(self.attention) != levels or (isinstance(self.heads, tuple) and len(self.heads) != levels):
            raise ValueError(f"widths, attention and heads must name as many levels, found {levels} widths")
        if any(width % self.groups for width in self.widths):
            raise ValueError(f"groups {self.groups} must divide every one of the widths {list(self.widths)}")
        heads = self.heads if isinstance(self.heads, tuple) else (self.heads,) * levels
        if any(width % number for width, number in zip(self.widths, heads, strict=True)):
            raise ValueError(f"heads {list(heads)} must divide the widths {list(self.widths)}")
        return self

    def layout(self, channels: int) -> dict[str, object]:
        """The settings of UNet2DConditionModel that follow, for latents of so many channels."""
        kinds = ["CrossAttn" if has_attention else "" for has_attention in self.attention]
        return {
            "in_channels": channels,
            "out_channels": channels,
            "down_block_types": tuple(f"{kind}DownBlock2D" for kind in kinds),
            "up_block_types": tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            "block_out_channels": self.widths,
            "layers_per_block": self.blocks,
            "attention_head_dim": self.heads,  # in diffusers the name of their number
            "cross_attention_dim": self.widths,  # without a text to attend to: self-attention
            "norm_num_groups": self.groups,
            "class_embed_type": "simple_projection",
            "projection_class_embeddings_input_dim": self.condition_width,
            "class_embeddings_concat": True,
        }


class Denoiser(nn.Module):
    """Noisy latents (B, C, T, F), times int64 (B,), conditions (B, D) -> the noise in them, float32 (B, C, T, F).

    T and F are padded with zeros on both sides to what the levels can halve, and the noise is cropped, as the authors do.
    """

    def __init__(self, settings: DenoiserSettings, channels: int) -> None:
        super().__init__()
        from diffusers import UNet2DConditionModel  # takes seconds, which a config need not wait for

        self.multiple = 2 ** (len(settings.widths) - 1)
        kind: Any = UNet2DConditionModel
        self.net = kind(**settings.layout(channels))

    def forward(self, latents: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        times, bands = latents.shape[2:]
        padded = self.pad(latents)
        top, left = (padded.shape[2] - times) // 2, (padded.shape[3] - bands) // 2
        noise: Tensor = self.net(padded, time, encoder_hidden_states=None, class_labels=condition).sample
        return noise[:, :, top : top + times, left : left + bands].float()

    def pad(self, latents: Tensor) -> Tensor:
        """86 x 20 -> 88 x 24, and 100 x 16 -> 104 x 16, where three levels halve."""
        more = [-size % self.multiple for size in latents.shape[2:]]
        (top, left), (bottom, right) = [size // 2 for size in more], [size - size // 2 for size in more]
        return F.pad(latents, (left, right, top, bottom))
