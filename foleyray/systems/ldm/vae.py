"""The autoencoder of log-mels: diffusers' AutoencoderKL, and the scale that gives its latents a spread of one.

Shapes: B clips, C latent channels, T times and F bands of the latent; inside, the axes of a mel are (frames, bands).
"""

from typing import TYPE_CHECKING, Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.config import Config
from foleyray.modules.scaling import MelScale
from foleyray.modules.schedules import Constant, Schedule
from foleyray.systems.ldm.texture import Texture

if TYPE_CHECKING:
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

DECAY = 0.99
"""Of the running moments of the latents."""


class JudgeSettings(Config):
    """A discriminator of patches beside the autoencoder; the defaults are the sheet's (Esser et al., 2021)."""

    width: int = Field(64, ge=1, description="channels of its first layer")
    weight: float = Field(0.5, gt=0, description="of its judgement, in proportion to the gradient of the error")
    begin: int = Field(50_001, ge=0, description="step from which it counts and learns")


class VaeSettings(Config):
    """The layout of AutoencoderKL and its losses; the defaults are AudioLDM's."""

    widths: tuple[int, ...] = Field((128, 256, 512), min_length=1, description="channels; each level but the first halves")
    blocks: int = Field(2, ge=1, description="residual blocks a level")
    groups: int = Field(32, ge=1, description="of the normalisation; divides every width")
    mid_attention: bool = Field(True, description="self-attention between encoder and latent; none elsewhere")
    latent_channels: int = Field(8, ge=1)
    fold: int = Field(1, ge=1, description="side of the patches that a mel is cut into first: cheap halvings")
    scale: MelScale | None = Field(None, description="log-mels into -1..1 for the net; None: it sees them as they are")
    texture_width: int = Field(64, ge=1, description="channels of the net that knows how far clips lie from what is decoded")
    kl_weight: float = Field(1.0, ge=0, description="on the sum over a latent, beside the sum of errors over a mel")
    judge: JudgeSettings | None = None
    learning_rate: float = Field(4.5e-5, gt=0)
    schedule: Schedule = Constant()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if any(width % self.groups for width in self.widths):
            raise ValueError(f"groups {self.groups} must divide every one of the widths {list(self.widths)}")
        return self

    @property
    def factor(self) -> int:
        """Frames, and bands, of a mel for one of a latent."""
        return int(self.fold * 2 ** (len(self.widths) - 1))

    def grid(self, bands: int, frames: int) -> tuple[int, int, int]:
        """The latent of a mel: channels, times, bands; the mel is continued where the factor does not divide it."""
        return self.latent_channels, -(-frames // self.factor), -(-bands // self.factor)

    @property
    def layout(self) -> dict[str, object]:
        """The settings of AutoencoderKL that follow."""
        levels = len(self.widths)
        return {
            "in_channels": self.fold**2,
            "out_channels": self.fold**2,
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
            "block_out_channels": self.widths,
            "layers_per_block": self.blocks,
            "latent_channels": self.latent_channels,
            "norm_num_groups": self.groups,
            "mid_block_add_attention": self.mid_attention,
        }


class MelVae(nn.Module):
    """log-mel (B, bands, frames) <-> latent (B, C, T, F)"""

    moments: Tensor
    num_batches: Tensor

    def __init__(self, settings: VaeSettings, bands: int, frames: int) -> None:
        super().__init__()
        from diffusers import AutoencoderKL  # takes seconds, which a config need not wait for

        self.settings, self.bands, self.frames = settings, bands, frames
        kind: Any = AutoencoderKL
        self.net = kind(**settings.layout)
        self.texture = Texture(settings.latent_channels, settings.texture_width, settings.factor, bands, frames)
        self.register_buffer("moments", torch.tensor([0.0, 1.0]))
        self.register_buffer("num_batches", torch.tensor(0))

    @property
    def std(self) -> Tensor:
        """Standard deviation of the latents it was trained on, a scalar; 1 before training."""
        return (self.moments[1] - self.moments[0].square()).clamp(min=1e-12).sqrt()

    @torch.no_grad()
    def measure(self, latents: Tensor) -> None:
        """Takes a training batch of latents into the running moments: a plain mean at first, later a decaying one."""
        self.num_batches += 1
        decay = (1 - 1 / self.num_batches).clamp(max=DECAY)
        latents = latents.float()
        self.moments.lerp_(torch.stack([latents.mean(), latents.square().mean()]), 1 - decay)

    def posterior(self, mel: Tensor) -> "DiagonalGaussianDistribution":
        """Mean and variance of the latents, not yet scaled, in float32."""
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        scale, (_, times, rows) = self.settings.scale, self.settings.grid(self.bands, self.frames)
        image = (scale.to_unit(mel) if scale else mel).transpose(1, 2).unsqueeze(1)
        factor = self.settings.factor
        image = F.pad(image, (0, rows * factor - self.bands, 0, times * factor - self.frames), mode="replicate")
        found = self.net.encode(F.pixel_unshuffle(image, self.settings.fold)).latent_dist
        return DiagonalGaussianDistribution(found.parameters.float())

    def reconstruction(self, latents: Tensor) -> Tensor:
        """Latents, not scaled -> log-mel float32, which may lie below the floor of the front end."""
        image = F.pixel_shuffle(self.net.decode(latents).sample, self.settings.fold)
        mel = image[:, 0, : self.frames, : self.bands].transpose(1, 2).float()
        return self.settings.scale.from_unit(mel) if self.settings.scale else mel

    def encode(self, mel: Tensor) -> Tensor:
        """log-mel -> the likeliest latents, of a spread of about one."""
        return self.posterior(mel).mode() / self.std

    def decode(self, latents: Tensor) -> Tensor:
        """What `encode` gives, or a diffusion like it -> log-mel float32."""
        return self.reconstruction(latents * self.std)

    def spread(self, latents: Tensor) -> Tensor:
        """As `decode`, but how far a clip lies from that in every cell of the log-mel (B, bands, frames), in nats."""
        return self.texture(latents * self.std).exp()
