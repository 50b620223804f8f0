"""Vocoders as a system chooses and uses them: their settings, and one way to call whichever was chosen."""

from pathlib import Path
from typing import Annotated, Literal, Protocol, Self

import torch
from pydantic import Field, model_validator
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


AUDIOLDM = HiFiGANLayout(channels=1024, rates=(5, 4, 2, 2, 2), kernels=(16, 16, 8, 4, 4))


class SpeechT5Settings(Config):
    """A SpeechT5HifiGan of transformers, used as it is published; the defaults are AudioLDM's."""

    kind: Literal["speecht5"] = "speecht5"
    start: str = Field(
        description="its folder, that of a pipeline with a sub-folder `vocoder`, or the pipeline's name on the hub, with "
        "`@revision` after it where it must not change"
    )
    layout: HiFiGANLayout = AUDIOLDM
    normalize_before: bool = Field(False, description="whether it normalises each band of the mel by numbers of its own")

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that keep its weights."""
        return ("vocoder",)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.layout.resblock != 1:
            raise ValueError("transformers' HiFi-GAN has two convolutions for each dilation; set vocoder.layout.resblock to 1")
        return self


AnyVocoder = GriffinLimSettings | HiFiGANSettings | SpeechT5Settings
VocoderSettings = Annotated[AnyVocoder, Field(discriminator="kind")]


class Vocoder(Protocol):
    """log-mel (B, bands, frames), noise (B, ...) -> wave (B, num_samples) in [-1, 1], zeros where the frames end early."""

    def noise(self, generator: torch.Generator) -> Tensor:
        """What one clip begins with, on the CPU, drawn from the clip's own generator; empty where nothing is random."""
        ...

    def __call__(self, mel: Tensor, noise: Tensor) -> Tensor: ...

    def to(self, device: torch.device) -> Self: ...


class NeuralVocoder(nn.Module):
    """A generator, frames (B, bands, frames) -> wave (B, T), in the place of a vocoder. See `Vocoder`."""

    def __init__(self, generator: nn.Module, num_samples: int) -> None:
        super().__init__()
        self.generator = folded(generator) if isinstance(generator, HiFiGAN) else generator
        self.num_samples = num_samples

    def noise(self, generator: torch.Generator) -> Tensor:
        return torch.empty(0)

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        wave = self.generator(mel)[:, : self.num_samples]
        return nn.functional.pad(wave, (0, self.num_samples - wave.shape[1]))


def open_vocoder(settings: AnyVocoder, clip: ClipSpec, mel: MelSpec, trained: Checkpoint | None) -> Vocoder:
    """The vocoder of those settings, with the weights of `trained`, a checkpoint of the stage `vocoder`, where it has some.

    Raises UserError where that checkpoint takes other mels, or does not fit the layout.
    """
    if isinstance(settings, GriffinLimSettings):
        return GriffinLim(mel, clip.num_samples, settings.iterations, settings.momentum)
    assert trained is not None
    taken = trained.card.mel_id
    if isinstance(settings, SpeechT5Settings):  # it may take other mels than those of the corpus it was copied beside
        taken = MelSpec.parse(trained.card.config["mel"], f"card of {trained.path}").id
    if taken != mel.id:
        raise UserError(
            f"vocoder {trained.id} takes mel {taken}, it is given mel {mel.id} ({mel.bands} bands, "
            f"hop {mel.hop}); use the config it was trained with, or train again"
        )
    nets = nn.ModuleDict({"generator": _fresh(settings, mel)})
    try:
        nets.load_state_dict({key: value for key, value in trained.weights().items() if key.startswith("generator.")})
    except RuntimeError as error:
        raise UserError(f"checkpoint {trained.path} does not fit the vocoder of its config: {error}") from None
    return NeuralVocoder(nets["generator"], clip.num_samples)


def _fresh(settings: HiFiGANSettings | SpeechT5Settings, mel: MelSpec) -> nn.Module:
    """The generator of those settings, to be filled from a checkpoint alone."""
    if isinstance(settings, HiFiGANSettings):
        return weight_normed(HiFiGAN(settings.layout, mel.bands))
    from foleyray.modules.speecht5_vocoder import SpeechT5Generator  # transformers takes seconds to import

    return SpeechT5Generator(settings, mel)
