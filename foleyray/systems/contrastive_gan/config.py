"""Every setting of the contrastive GAN, from its losses to its vocoder, and the parameters of its sampler."""

from math import prod
from typing import Literal, Self

from pydantic import Field, model_validator

from foleyray.config import Config as Settings
from foleyray.modules.scaling import MelScale
from foleyray.modules.vocoder import GriffinLimSettings, HiFiGANSettings, VocoderSettings
from foleyray.sampling import Choice, Float, SamplingParams
from foleyray.system import SystemConfig

Step = tuple[int, int]
"""A factor in bands and one in frames."""

STEPS: tuple[Step, ...] = ((2, 1), (2, 2), (2, 2), (2, 2))
"""What each block of the generator multiplies bands and frames with; the discriminator divides in reverse."""
GRID: Step = (prod(step[0] for step in STEPS), prod(step[1] for step in STEPS))


class Layout(Settings):
    """The size of one net; the defaults are BigGAN's layout on an 80 x 344 mel."""

    width: int = Field(64, ge=1, description="channels of the finest block, twice as many in each coarser one")
    max_channels: int = Field(1024, ge=1, description="no block has more")
    fold: Literal[0, 1, 2] = Field(0, description="finest blocks left out: the mel is made or read in patches of 2^fold")
    attention: bool = Field(True, description="self-attention where the grid is a quarter of the mel's size")
    spectral_norm: bool = True


class GeneratorLayout(Layout):
    latent: int = Field(120, ge=5, description="numbers in z, an equal share for the first layer and for each block")
    class_embedding: int = Field(128, ge=1)
    speckle: bool = Field(False, description="noise added in every block, with strengths learned per channel")


class DiscriminatorLayout(Layout):
    projection: int = Field(128, ge=1, description="dimensions in which contrasts are drawn")
    pooled: Literal["sum", "mean"] = Field("sum", description="over the last grid; mean: as large as a sum over 4 x 4 places")
    strided: bool = Field(False, description="halve in a block's first convolution, not by pooling after its last: cheaper")
    adv_projection: bool = Field(False, description="score the pair of mel and class, not the mel alone")


class Augment(Settings):
    """What the discriminator sees is shifted in time and level, real and made alike (Zhao et al., 2020)."""

    shift_seconds: float = Field(0.0, ge=0)
    gain_db: float = Field(0.0, ge=0)


class Encoder(Settings):
    """The pretrained encoder that C-SupCon losses draw their source from."""

    hidden: tuple[int, ...] = (64, 128, 256, 512)
    temperature: float = Field(0.07, gt=0)
    fade_seconds: float = Field(0.5, ge=0, description="longest fade at either end")
    masks: int = Field(2, ge=0, description="most time masks in a view; at least one is drawn")
    mask_frames: int = Field(40, ge=1, description="longest time mask")
    learning_rate: float = Field(1e-3, gt=0)


class Config(SystemConfig):
    system: Literal["contrastive_gan"] = "contrastive_gan"
    contrast: Literal["2c", "o2c", "csupcon", "oc-supcon"] = "o2c"
    source: Literal["self", "self_grad", "paired", "class_mean"] = Field("self", description="the x of f(x) for made mels")
    tau_d: float = Field(0.1, gt=0, description="temperature between mels")
    tau_c: float = Field(0.1, gt=0, description="temperature between a mel and its class or source")
    contrast_weight: float = Field(1.0, ge=0)
    excess_weight: float = Field(0.0, ge=0, description="on made mels that are louder than a clip can be, where tanh is flat")
    generator: GeneratorLayout = GeneratorLayout()
    discriminator: DiscriminatorLayout = DiscriminatorLayout()
    scale: MelScale = MelScale()
    augment: Augment = Augment()
    generator_rate: float = Field(1e-4, gt=0)
    discriminator_rate: float = Field(1e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    discriminator_repeats: int = Field(1, ge=1, le=5)
    encoder: Encoder = Encoder()
    vocoder: VocoderSettings = GriffinLimSettings()

    @property
    def has_source(self) -> bool:
        return self.contrast in ("csupcon", "oc-supcon")

    @property
    def shape(self) -> tuple[int, int]:
        """Bands and frames of a clip's mel."""
        return self.mel.bands, self.mel.frames(self.clip.num_samples)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        bands, frames = self.shape
        if bands % GRID[0] or frames % GRID[1]:
            raise ValueError(f"mel {bands} x {frames} must be a multiple of {GRID[0]} bands and {GRID[1]} frames")
        inputs = len(STEPS) - self.generator.fold + 1
        if self.generator.latent % inputs:
            raise ValueError(f"generator.latent {self.generator.latent} must split evenly over {inputs} inputs")
        stages = {"gan", *self.vocoder.stages} | ({"encoder"} if self.has_source else set())
        if not stages <= set(self.training):
            raise ValueError(f"training must have the stages {sorted(stages)}, found {sorted(self.training)}")
        self.scale.check(self.mel)
        if isinstance(self.vocoder, HiFiGANSettings):
            self.vocoder.check(self.clip, self.mel)
        return self


class ContrastiveGanParams(SamplingParams):
    truncation: float = Float(0.5, 1.0, start=1.0, help="spread of z: below 1 nearer to the class's middle, and less varied")
    averaged: Literal["on", "off"] = Choice(start="on", help="averaged weights of the generator, or raw ones", batch_wide=True)
