"""Every setting of the VQ-VAE, the PixelSNAIL and the vocoder, and the parameters of their sampler."""

from typing import Literal, Self

from pydantic import Field, model_validator

from foleyray.modules.prior_stage import PriorSettings
from foleyray.modules.tokenizer import TokenizerSettings
from foleyray.modules.vocoder import GriffinLimSettings, HiFiGANSettings, VocoderSettings
from foleyray.sampling import Float, Int, SamplingParams
from foleyray.system import SystemConfig


class Config(SystemConfig):
    system: Literal["vqvae_pixelsnail"] = "vqvae_pixelsnail"
    tokenizer: TokenizerSettings = TokenizerSettings()
    prior: PriorSettings = PriorSettings()
    vocoder: VocoderSettings = GriffinLimSettings()
    sampling_precision: Literal["float32", "bf16"] = Field("float32", description="bf16: faster where a processor has it")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a clip's codes: (20, 86) for a mel of 80 x 344 halved twice."""
        return self.tokenizer.grid(self.mel.bands, self.mel.frames(self.clip.num_samples))

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        wanted = {"tokenizer", "prior", *self.vocoder.stages}
        if isinstance(self.vocoder, HiFiGANSettings):
            self.vocoder.check(self.clip, self.mel)
        if not wanted <= set(self.training):
            raise ValueError(f"training must have the stages {sorted(wanted)}, found {sorted(self.training)}")
        self.tokenizer.grid(self.mel.bands, self.mel.frames(self.clip.num_samples))
        return self


class VqvaePixelsnailParams(SamplingParams):
    temperature: float = Float(0.7, 1.1, start=1.0, help="below 1 likelier codes, and less varied")
    top_p: float = Float(0.9, 1.0, start=1.0, help="the likeliest codes that have this share of the probability between them")
    texture: float = Float(0.0, 1.5, start=0.0, help="noise for what decoding smooths away; 0: none, as in the papers")
    top_k: int = Int(1, 32_768, start=32_768, help="so many of the likeliest codes at most", searched=False)
