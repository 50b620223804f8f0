"""Learning-rate schedules: factors on an optimizer's rate as functions of the step, chosen in a config by `kind`."""

from math import cos, pi
from typing import Annotated, Literal

from pydantic import Field

from foleyray.config import Config
from foleyray.stage import Step


class Constant(Config):
    kind: Literal["constant"] = "constant"

    def factor(self, step: Step) -> float:
        return 1.0


class Triangular(Config):
    """Up and down in straight lines, each peak half as far above `low` as the one before (Smith, 2017, "triangular2")."""

    kind: Literal["triangular"] = "triangular"
    half_period: int = Field(ge=1, description="steps from the lowest rate to the peak")
    low: float = Field(1 / 30, ge=0, le=1, description="lowest factor; 1/30 is 1e-5 for a rate of 3e-4")

    def factor(self, step: Step) -> float:
        cycle, within = divmod(step.index, 2 * self.half_period)
        height: float = 1 - abs(within / self.half_period - 1)
        return self.low + (1 - self.low) * height * 0.5**cycle


class OneCycle(Config):
    """A straight line up to the rate, then half a cosine down to `first` / `fall` at the last step (Smith and Topin, 2019)."""

    kind: Literal["one_cycle"] = "one_cycle"
    warm_up: float = Field(0.05, ge=0, lt=1, description="share of the steps until the peak")
    first: float = Field(1 / 25, gt=0, le=1, description="factor at the first step")
    fall: float = Field(1e4, ge=1, description="how often the last factor goes into the first")

    def factor(self, step: Step) -> float:
        peak = self.warm_up * step.total - 1
        if step.index < peak:
            return self.first + (1 - self.first) * step.index / peak
        last, done = self.first / self.fall, (step.index - peak) / (step.total - 1 - peak)
        return last + (1 - last) * (1 + cos(pi * done)) / 2


Schedule = Annotated[Constant | Triangular | OneCycle, Field(discriminator="kind")]
