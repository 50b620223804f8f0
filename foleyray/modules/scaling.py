"""Log-mels into the range of a network's output and back, by fixed constants. Never by clip: that would lose the level."""

from math import log

from torch import Tensor

from foleyray.clips import MelSpec
from foleyray.config import Config, UserError


class MelScale(Config):
    """The log-mels that become -1 and 1. `low` at the floor of the front end or below it, `high` above the loudest clip."""

    low: float = log(1e-5)
    high: float = 2.5

    def check(self, spec: MelSpec) -> None:
        """Raises UserError where the scale cannot hold the mels of `spec`."""
        if self.low > log(spec.floor) + 1e-6 or self.high <= self.low:
            raise UserError(
                f"mel scale {self.low:g}..{self.high:g} does not hold log-mels from {log(spec.floor):.4f} upwards; "
                f"set 'low' to that floor or below it, and 'high' above 'low'"
            )

    def to_unit(self, mel: Tensor) -> Tensor:
        """Log-mel (...) -> [-1, 1]; what lies beyond the scale is clamped to it."""
        return ((mel - self.low) * (2 / (self.high - self.low)) - 1).clamp(-1, 1)

    def from_unit(self, unit: Tensor) -> Tensor:
        """[-1, 1] -> log-mel (...); what lies beyond goes on beyond."""
        return (unit + 1) * ((self.high - self.low) / 2) + self.low

    def to_mel(self, unit: Tensor, floor: float) -> Tensor:
        """[-1, 1] -> log-mel (...), no lower than log(`floor`), the floor of the front end."""
        return self.from_unit(unit).clamp(min=log(floor))
