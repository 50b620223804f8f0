"""Words of generation: a request, the sound that answers it, its recipe, and a wrong field told in parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from foleyray.audio.wav import Format, encode
from foleyray.clips import ClipSpec
from foleyray.config import Config, UserError

SEEDS = 2**63
"""Seeds are whole numbers from 0 to SEEDS - 1."""

Params = Mapping[str, float | int | str]


class FieldError(UserError):
    """One wrong field of a request, in parts: doors print the sentence, HTTP answers the parts."""

    def __init__(self, field: str, message: str, allowed: tuple[str, ...] | str, nearest: str | None = None) -> None:
        super().__init__(field, message, allowed, nearest)
        self.field, self.message, self.allowed, self.nearest = field, message, allowed, nearest

    def __str__(self) -> str:
        near = f" (did you mean '{self.nearest}'?)" if self.nearest else ""
        allowed = self.allowed if isinstance(self.allowed, str) else ", ".join(self.allowed) or "none"
        return f"{self.field}: {self.message}{near}; allowed: {allowed}"


def fault(kind: str, value: object) -> str:
    """What is wrong with a value, from pydantic's kind of error; the value is cut short and kept to ASCII."""
    if kind.startswith(("less_than", "greater_than", "finite")):
        what = "is out of bounds"
    elif kind.endswith("too_long"):
        what = "is too long"
    else:
        what = "is not one of the allowed values" if kind == "literal_error" else "is of the wrong type"
    return f"{ascii(value)[:64]} {what}"


@dataclass(frozen=True)
class Request:
    """One sound asked for: class index, seed, and the sampling parameters that differ from the member's own."""

    label: int
    seed: int
    params: Params = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEEDS:
            raise FieldError("seed", f"{self.seed} is out of bounds", f"a whole number from 0 to {SEEDS - 1}")


def consecutive(label: int, seed: int, count: int, params: Params | None = None) -> list[Request]:
    """`count` sounds of one class with the seeds seed, seed + 1, ...: each can be made again alone by its own seed."""
    if count < 1:
        raise FieldError("count", f"{count} is out of bounds", "a whole number from 1")
    return [Request(label, seed + index, params or {}) for index in range(count)]


class Recipe(Config):
    """All it takes to make a sound again; written into every file, in JSON with the class under `class`."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    class_name: str = Field(alias="class")
    seed: int
    system: str
    checkpoints: dict[str, str]
    params: dict[str, float | int | str]
    ensemble: str
    clip: ClipSpec

    @property
    def json_text(self) -> str:
        """One line of compact JSON."""
        return self.model_dump_json()

    def file_name(self, form: Format) -> str:
        """`<Class>_<seed>.<format>`. A class name cannot lead out of a folder: `ClassList` admits no dot and no slash."""
        return f"{self.class_name}_{self.seed}.{form}"


@dataclass(frozen=True)
class Sound:
    """wave float32 (T,) in [-1, 1], and how it was made."""

    wave: NDArray[np.float32]
    recipe: Recipe

    def encode(self, form: Format) -> bytes:
        """A whole file of that format, with the recipe in its comment field; equal sounds give equal bytes."""
        return encode(self.wave, self.recipe.clip, form, self.recipe.json_text)
