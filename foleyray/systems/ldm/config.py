"""Every setting of the latent diffusion, and the parameters of its sampler."""

from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from foleyray.clips import ClipSpec, MelSpec
from foleyray.config import Config as Settings
from foleyray.modules.clap import ClapSettings
from foleyray.modules.schedules import Constant, Schedule
from foleyray.modules.tiny_clap import TinyClapSettings
from foleyray.modules.vocoder import GriffinLimSettings, HiFiGANSettings, VocoderSettings
from foleyray.sampling import Choice, Float, Int, SamplingParams
from foleyray.system import SystemConfig
from foleyray.systems.ldm.denoiser import DenoiserSettings
from foleyray.systems.ldm.tuning import TuningSettings
from foleyray.systems.ldm.vae import VaeSettings

Solver = Literal["dpm", "ddim"]


class Rate(Settings):
    """Of Adam."""

    learning_rate: float = Field(3e-5, gt=0)
    schedule: Schedule = Constant()


class Config(SystemConfig):
    system: Literal["ldm"] = "ldm"
    clap: ClapSettings = TinyClapSettings()
    front: MelSpec | None = Field(None, description="mels of another rate or size than the corpus's; None: the corpus's")
    vae: VaeSettings = VaeSettings()
    denoiser: DenoiserSettings = DenoiserSettings()
    vocoder: VocoderSettings = GriffinLimSettings()
    condition: Literal["label", "text", "tuned"] = Field("tuned", description="what a class is to the denoiser")
    tuning: TuningSettings = TuningSettings()
    pretrained: bool = Field(True, description="denoise every clip after its own sound first; False: no stage ldm_pretrain")
    start: str | None = Field(None, description="folder or hub id of a published AudioLDM to begin with; None: random weights")
    unconditional: float = Field(0.1, ge=0, lt=1, description="share of a batch that is told nothing")
    pretraining: Rate = Rate()
    finetuning: Rate = Rate()

    @property
    def heard(self) -> MelSpec:
        """The front end of VAE and vocoder."""
        return self.front or self.mel

    @cached_property
    def heard_clip(self) -> ClipSpec:
        """A clip at the rate of that front end."""
        return ClipSpec(sample_rate_hz=self.heard.sample_rate_hz, seconds=self.clip.seconds)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Channels, times and bands of a clip's latent: (8, 86, 20) for a mel of 344 x 80 and a factor of 4."""
        return self.vae.grid(self.heard.bands, self.heard.frames(self.heard_clip.num_samples))

    @model_validator(mode="before")
    @classmethod
    def _leaves_out_what_is_switched_off(cls, values: Any) -> Any:
        """`pretrained: false` alone is enough: the training of the stage that is gone may stay in the file."""
        if isinstance(values, dict) and values.get("pretrained") is False and isinstance(values.get("training"), dict):
            return values | {"training": {k: v for k, v in values["training"].items() if k != "ldm_pretrain"}}
        return values

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        wanted = {"clap", "vae", "ldm_finetune", *self.vocoder.stages} | ({"ldm_pretrain"} if self.pretrained else set())
        if not wanted <= set(self.training):
            raise ValueError(f"training must have the stages {sorted(wanted)}, found {sorted(self.training)}")
        if isinstance(self.vocoder, HiFiGANSettings):
            if self.front:
                raise ValueError("vocoder.kind hifigan is trained on the corpus's own mel; with 'front' choose another kind")
            self.vocoder.check(self.clip, self.mel)
        if self.vae.scale:
            self.vae.scale.check(self.heard)
        return self


class LdmParams(SamplingParams):
    guidance: float = Float(1.0, 6.0, start=2.5, help="how far beyond the condition; 1: none of it, and twice as fast")
    noise_scale: float = Float(
        0.8, 1.2, start=1.0, help="spread of the noise a clip begins with: below 1 quieter, and less varied"
    )
    texture: float = Float(0.0, 1.5, start=0.0, help="noise for what decoding smooths away; 0: none, as in the papers")
    steps: int = Int(5, 200, start=20, help="evaluations of the denoiser", batch_wide=True, searched=False)
    solver: Solver = Choice(
        start="dpm", help="dpm: DPM-Solver++, for few steps; ddim: the papers', with 200", batch_wide=True, searched=False
    )
    eta: float = Float(0.0, 1.0, start=1.0, help="of ddim: noise added on the way", batch_wide=True, searched=False)
