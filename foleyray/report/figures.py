"""How the page writes numbers, and where it puts them: rounding, durations, breaks, the strip, the warmth of a cell."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from markupsafe import Markup

STRONGEST = 46
"""Percent of colour in the warmest cell: the words on it can still be read."""


def number(value: float | None) -> str:
    """Three significant digits, without exponents between a thousandth and a million; a dash for what was not measured."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = 2 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if float(value).is_integer() and "." in text else text
    return f"{value:.2e}"


def duration(seconds: float) -> str:
    """`0.4 s`, `52 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def breakable(name: str) -> Markup:
    """A name with places between its words, as in MovingMotorVehicle, where a narrow column may break it; escaped."""
    return Markup("<wbr>").join(re.split(r"(?<=[a-z0-9_])(?=[A-Z])|(?<=_)", name))


@dataclass(frozen=True)
class LogScale:
    """A logarithmic strip; `at` gives 0 at its low end and 1 at its high one."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float]) -> "LogScale":
        """The strip that holds all positive values, with a little room at both ends."""
        positive = [value for value in values if value > 0] or [1.0]
        return cls(min(positive) / 1.2, max(positive) * 1.2)

    def at(self, value: float) -> float:
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return round(min(max(share, 0.0), 1.0), 4)

    def ticks(self) -> list[tuple[float, str]]:
        """Round numbers on the strip, with their places: decades where there are several, else 1, 2, 5 of each."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        factors = (1,) if self.high > 300 * self.low else (1, 3) if self.high > 12 * self.low else (1, 2, 5)
        values = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        return [(self.at(value), f"{value:g}") for value in values if self.low <= value <= self.high]


def warmth(distances: Mapping[str, float]) -> dict[str, int]:
    """Name -> percent of colour, STRONGEST for the nearest and 0 for the farthest, by the logarithm of the distance."""
    logs = {name: math.log(max(distance, 1e-9)) for name, distance in distances.items()}
    low, high = min(logs.values()), max(logs.values())
    return {name: round(STRONGEST * (high - value) / (high - low)) if high > low else 0 for name, value in logs.items()}
