"""Vocoders as a system chooses and uses them: their settings, and one way to call whichever was chosen."""

from pathlib import Path
from typing import Annotated, Literal, Protocol, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from foleyray.audio.griffin_lim import GriffinLim
from foleyray.checkpoint import Checkpoint
from foleyray.clips import ClipSpec, MelSpec
from foleyray.config import Config, UserError
from foleyray.modules.hifigan import HiFiGAN, HiFiGANLayout, folded, weight_normed


class GriffinLimSettings(Config):
    """Needs no training."""

    kind: Literal["griffin_lim"] = "griffin_lim"
    iterations: int = Field(32, ge=1)
    momentum: float = Field(0.99, ge=0, le=2)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that train it."""
        return ()


Judge = Literal["periods", "scales"]


class PublicWeights(Config):
    """A published generator that training goes on from: its weights, and the JSON file beside them."""

    weights: Path
    settings: Path


class HiFiGANSettings(Config):
    """A HiFi-GAN and how its stage `vocoder` trains it; the defaults are the paper's."""

    kind: Literal["hifigan"] = "hifigan"
    layout: HiFiGANLayout = HiFiGANLayout()
    start: PublicWeights | None = Field(None, description="None: random weights")
    segment: int = Field(8192, ge=1, description="samples of each clip that a step trains on, a multiple of the hop")
    judges: tuple[Judge, ...] = Field(("periods", "scales"), description="discriminators; none: the mel loss alone")
    judge_width: int = Field(
        32, ge=4, multiple_of=4, description="the finest layer's channels, of which all others are multiples"
    )
    mel_weight: float = Field(45.0, ge=0)
    feature_weight: float = Field(2.0, ge=0)
    learning_rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = (0.8, 0.99)
    decay: float = Field(0.999, gt=0, le=1, description="factor on the learning rate")
    decay_every: int = Field(800, ge=1, description="steps for which that factor stands; the paper's epoch")

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that train it."""
        return ("vocoder",)

    def check(self, clip: ClipSpec, mel: MelSpec) -> None:
        """Raises UserError where rates, segment, clip and mel do not fit together."""
        self.layout.check(mel)
        whole = mel.frames(clip.num_samples) * mel.hop
        if self.segment % mel.hop or not mel.fft <= self.segment <= min(whole, clip.num_samples):
            raise UserError(
                f"the vocoder's segment {self.segment} must be a multiple of the hop {mel.hop}, at least the fft {mel.fft} "
                f"and at most the clip's {clip.num_samples} samples; set vocoder.segment"
            )


VocoderSettings = Annotated[GriffinLimSettings | HiFiGANSettings, Field(discriminator="kind")]


class Vocoder(Protocol):
    """log-mel (B, bands, frames), noise (B, ...) -> wave (B, num_samples) in [-1, 1], zeros where the frames end early."""

    def noise(self, generator: torch.Generator) -> Tensor:
        """What one clip begins with, on the CPU, drawn from the clip's own generator; empty where nothing is random."""
        ...

    def __call__(self, mel: Tensor, noise: Tensor) -> Tensor: ...

    def to(self, device: torch.device) -> Self: ...


class NeuralVocoder(nn.Module):
    """A trained generator in the place of a vocoder. See `Vocoder`."""

    def __init__(self, generator: HiFiGAN, num_samples: int) -> None:
        super().__init__()
        self.generator, self.num_samples = folded(generator), num_samples

    def noise(self, generator: torch.Generator) -> Tensor:
        return torch.empty(0)

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        wave = self.generator(mel)[:, : self.num_samples]
        return nn.functional.pad(wave, (0, self.num_samples - wave.shape[1]))


def open_vocoder(
    settings: GriffinLimSettings | HiFiGANSettings, clip: ClipSpec, mel: MelSpec, trained: Checkpoint | None
) -> Vocoder:
    """The vocoder of those settings, with the weights of `trained`, a checkpoint of the stage `vocoder`, where it has some.

    Raises UserError where that checkpoint takes other mels, or does not fit the layout.
    """
    if isinstance(settings, GriffinLimSettings):
        return GriffinLim(mel, clip.num_samples, settings.iterations, settings.momentum)
    assert trained is not None
    if trained.card.mel_id != mel.id:
        raise UserError(
            f"vocoder {trained.id} takes mel {trained.card.mel_id}, it is given mel {mel.id} ({mel.bands} bands, "
            f"hop {mel.hop}); use the config it was trained with, or train again"
        )
    nets = nn.ModuleDict({"generator": weight_normed(HiFiGAN(settings.layout, mel.bands))})
    try:
        nets.load_state_dict({key: value for key, value in trained.weights().items() if key.startswith("generator.")})
    except RuntimeError as error:
        raise UserError(f"checkpoint {trained.path} does not fit the vocoder of its config: {error}") from None
    generator = nets["generator"]
    assert isinstance(generator, HiFiGAN)
    return NeuralVocoder(generator, clip.num_samples)
