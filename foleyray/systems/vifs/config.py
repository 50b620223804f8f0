"""Every setting of VIFS, and the parameters of its sampler. Sizes of the nets are in `layout`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from foleyray.config import Config as Settings
from foleyray.modules.hifigan import Precision
from foleyray.sampling import Choice, Float, SamplingParams
from foleyray.system import SystemConfig
from foleyray.systems.vifs.layout import Layout

Moments = Literal["scalar", "per_dim", "mmd"]


class Judges(Settings):
    """The discriminators of Avocodo (Bak et al., 2023) and what they are shown; the defaults are the paper's."""

    width: int = Field(16, ge=4, multiple_of=4, description="channels of the first layer, by which all others grow")
    phase_aug: bool = Field(True, description="turn the phases of real and made waves alike before they are judged")


class Config(SystemConfig):
    system: Literal["vifs"] = "vifs"
    layout: Layout = Layout()
    judges: Judges = Judges()
    segment: int = Field(8192, ge=1, description="samples that are made and judged of each clip in a step")
    peak: float = Field(0.95, gt=0, le=1, description="of every clip, real and made")
    mel_weight: float = Field(15.0, ge=0)
    feature_weight: float = Field(2.0, ge=0)
    kl_weight: float = Field(10.0, ge=0, description="on the mean over the latent")
    sap_weight: float = Field(1.0, ge=0, description="on what keeps the pooled vectors like normal noise")
    sap_moments: Moments = Field("scalar", description="of all numbers at once, of each dimension, or the whole distribution")
    learning_rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = (0.8, 0.9)
    decay: float = Field(0.999875, gt=0, le=1, description="factor on the learning rate")
    decay_every: int = Field(19, ge=1, description="steps for which that factor stands; the paper's epoch")
    clip_value: float = Field(0.5, gt=0, description="largest value in a gradient of the generator")

    @property
    def frames(self) -> int:
        """Of a clip's spectrogram: 344."""
        return self.mel.frames(self.clip.num_samples)

    @property
    def bins(self) -> int:
        """Frequencies of the linear spectrogram: 513."""
        return self.mel.fft // 2 + 1

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if "vifs" not in self.training:
            raise ValueError(f"training must have the stage 'vifs', found {sorted(self.training)}")
        self.layout.decoder.check(self.mel)
        if self.clip.sample_rate_hz != self.mel.sample_rate_hz:
            raise ValueError(
                f"clips of {self.clip.sample_rate_hz} Hz are made from spectrograms of the same rate, "
                f"found mel.sample_rate_hz {self.mel.sample_rate_hz}"
            )
        if self.segment % 64:
            raise ValueError(f"segment {self.segment} must be a multiple of the 64 bands that it is judged in")
        whole = self.frames * self.mel.hop
        if self.segment % self.mel.hop or not self.mel.fft <= self.segment <= min(whole, self.clip.num_samples):
            raise ValueError(
                f"segment {self.segment} must be a multiple of the hop {self.mel.hop}, at least the fft {self.mel.fft} "
                f"and at most the clip's {self.clip.num_samples} samples"
            )
        return self


class VifsParams(SamplingParams):
    noise_scale: float = Float(0.25, 1.5, start=0.667, help="spread of the noise in every frame: below 1 nearer to the mean")
    sap_scale: float = Float(0.0, 1.5, start=1.0, help="spread of the vector that stands for a whole clip")
    precision: Precision = Choice(
        start="float32",
        help="of the decoder; bf16: coarser, and faster where the machine has it",
        batch_wide=True,
        searched=False,
    )
