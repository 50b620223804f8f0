"""The sizes of the synthesizer's nets."""

from typing import Self

from pydantic import Field, model_validator

from foleyray.config import Config
from foleyray.modules.hifigan import HiFiGANLayout

HEADS = 3
"""Waves that the decoder makes, after each of its last stages: at a quarter, at half and at the whole of the sample rate."""


class Layout(Config):
    """The defaults are the paper's: 64.94 M parameters on 513 bins, 344 frames and 7 classes."""

    hidden: int = Field(192, ge=2, multiple_of=2, description="channels of every latent, and of the class embedding")
    kernel: int = Field(5, ge=1, description="of every WaveNet stack, odd")
    posterior_layers: int = Field(16, ge=1, description="of the posterior encoder's WaveNet stack")
    flows: int = Field(4, ge=1, description="affine couplings, with a flip of the channels after each")
    flow_layers: int = Field(4, ge=1, description="of each coupling's WaveNet stack")
    prior_layers: int = Field(6, ge=1, description="of the prior encoder's WaveNet stack")
    frame_prior_layers: int = Field(6, ge=0, description="residual convolutions on the prior's mean and log std")
    frame_prior_kernel: int = Field(35, ge=1, description="of those, odd")
    decoder: HiFiGANLayout = HiFiGANLayout()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for name in ("kernel", "frame_prior_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} {getattr(self, name)} must be odd")
        rates = self.decoder.rates
        if len(rates) < HEADS or any(rate != 2 for rate in rates[1 - HEADS :]):
            raise ValueError(
                f"decoder.rates {rates} must be {HEADS} or more and end with 2, 2, for coarse waves come from those"
            )
        return self
