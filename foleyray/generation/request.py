"""Words of generation: a request, the sound that answers it, its recipe, and a wrong field told in parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from foleyray.audio.wav import Format, encode
from foleyray.clips import ClipSpec
from foleyray.config import Config, UserError, fingerprint
from foleyray.selection import Pick, Selection

SEEDS = 2**63
"""Seeds are whole numbers from 0 to SEEDS - 1."""
PROMPT_LENGTH = 300
"""Characters of the longest prompt."""
PROMPTS = f"1 to {PROMPT_LENGTH} printable characters"
"""What a prompt may be, in words."""

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
    elif kind.endswith(("too_long", "too_short")):
        what = "is too long" if kind.endswith("long") else "is too short"
    else:
        what = "is not one of the allowed values" if kind == "literal_error" else "is of the wrong type"
    return f"{ascii(value)[:64]} {what}"


@dataclass(frozen=True)
class Request:
    """One sound asked for: class index, seed, the sampling parameters that differ from the member's own, and a prompt.

    With a prompt the class may be left out (None): the members of every class are asked then.
    """

    label: int | None
    seed: int
    params: Params = field(default_factory=dict)
    prompt: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEEDS:
            raise FieldError("seed", f"{self.seed} is out of bounds", f"a whole number from 0 to {SEEDS - 1}")
        if self.prompt is not None and not _is_prompt(self.prompt):
            raise FieldError("prompt", f"{ascii(self.prompt)[:64]} is too long, empty or not printable", PROMPTS)
        if self.label is None and self.prompt is None:
            raise FieldError("class", "is missing", "a class, or a prompt in its place")


def _is_prompt(text: str) -> bool:
    return len(text) <= PROMPT_LENGTH and text.isprintable() and bool(text.strip())


def consecutive(
    label: int | None, seed: int, count: int, params: Params | None = None, prompt: str | None = None
) -> list[Request]:
    """`count` sounds of one kind with the seeds seed, seed + 1, ...: each can be made again alone by its own seed."""
    if count < 1:
        raise FieldError("count", f"{count} is out of bounds", "a whole number from 1")
    return [Request(label, seed + index, params or {}, prompt) for index in range(count)]


def _is_none(value: object) -> bool:
    return value is None


class Recipe(Config):
    """All it takes to make a sound again; written into every file, in JSON with the class under `class`.

    `prompt` and `selection` stand in the JSON only where there is one; the paths are below the ensemble's folder.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    class_name: str | None = Field(alias="class", description="None where only a prompt was given")
    prompt: str | None = Field(None, exclude_if=_is_none)
    seed: int
    system: str
    checkpoints: dict[str, str]
    params: dict[str, float | int | str]
    selection: Selection | None = Field(None, exclude_if=_is_none)
    ensemble: str
    clip: ClipSpec

    @property
    def json_text(self) -> str:
        """One line of compact JSON."""
        return self.model_dump_json()

    @property
    def kind(self) -> str:
        """The class's name, or `prompt` where there is none; with 8 hex digits of the prompt where there is one."""
        name = self.class_name or "prompt"
        return name if self.prompt is None else f"{name}-{fingerprint(self.prompt)}"

    def file_name(self, form: Format) -> str:
        """Such as `Rain_7.wav`. A class name cannot lead out of a folder: `ClassList` admits no dot and no slash."""
        return f"{self.kind}_{self.seed}.{form}"


@dataclass(frozen=True)
class Sound:
    """wave float32 (T,) in [-1, 1], how it was made, and of how many it was picked where there was a selection."""

    wave: NDArray[np.float32]
    recipe: Recipe
    pick: Pick | None = None

    def encode(self, form: Format) -> bytes:
        """A whole file of that format, with the recipe in its comment field; equal sounds give equal bytes."""
        return encode(self.wave, self.recipe.clip, form, self.recipe.json_text)
