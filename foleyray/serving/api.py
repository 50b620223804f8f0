"""What crosses the wire: the body of a request, the answers, and the one shape of every 422."""

import secrets
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foleyray.audio.wav import FORMATS, Format
from foleyray.clips import ClassList
from foleyray.config import Config, UserError, closest
from foleyray.ensemble import Ensemble
from foleyray.generation import PROMPT_LENGTH, PROMPTS, SEEDS, FieldError, Recipe, Request, consecutive, fault
from foleyray.sampling import Bounds
from foleyray.selection import Pick, Selection

DRAWN_SEEDS = 2**53
"""A seed that the server draws is below this: the largest whole numbers that every JSON reader keeps exact."""


class SoundsRequest(Config):
    """Body of `POST /v1/sounds`: a class, a prompt, or both."""

    class_name: str | None = Field(
        None, alias="class", max_length=128, description="class of sound, in any known spelling; may be left out with a prompt"
    )
    prompt: str | None = Field(
        None, min_length=1, max_length=PROMPT_LENGTH, description="what to make, in words, where a member takes prompts"
    )
    count: int = Field(1, ge=1, description="sounds wanted; their seeds are seed, seed + 1, ...")
    seed: int | None = Field(None, ge=0, lt=SEEDS, description="same seed, same sound; left out, one is drawn and told")
    format: Format = Field("wav", description="file format of the sounds")
    params: dict[str, Any] = Field({}, max_length=64, description="sampling parameters that differ from the promoted ones")


class SoundAnswer(Config):
    """One sound in a JSON answer."""

    name: str
    audio: str = Field(description="the file, in base64")
    recipe: Recipe
    pick: Pick | None = Field(None, description="of how many it was chosen and how; null without a selection")


class SoundsAnswer(Config):
    """Answer of `POST /v1/sounds` to `Accept: application/json`."""

    sounds: tuple[SoundAnswer, ...]


class MemberAnswer(Config):
    """One way in which a class is made; `start` of a parameter is the value used where a request sets none."""

    system: str
    share: float
    params: dict[str, Bounds]
    takes_prompts: bool
    selection: Selection | None = Field(description="how one of several candidates is chosen; null: one sound is made")


class ClassAnswer(Config):
    """One class of sound."""

    name: str
    aliases: tuple[str, ...]
    members: tuple[MemberAnswer, ...]


class ClassesAnswer(Config):
    """Answer of `GET /v1/classes`."""

    classes: tuple[ClassAnswer, ...]


class EnsembleAnswer(Config):
    """Answer of `GET /v1/ensemble`."""

    id: str
    ensemble: Ensemble


class HealthAnswer(Config):
    """Answer of `GET /healthz`."""

    status: str
    ensemble: str


class Problem(BaseModel):
    """One wrong field: what was wrong, what is allowed (names, or a range in words), and the nearest allowed name."""

    model_config = ConfigDict(from_attributes=True)

    field: str
    message: str
    allowed: tuple[str, ...] | str
    nearest: str | None


class Refusal(BaseModel):
    """Body of every 422."""

    detail: tuple[Problem, ...]


class Refused(UserError):
    """A request with one or more wrong fields."""

    def __init__(self, *problems: FieldError) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems

    @property
    def body(self) -> str:
        """JSON in ASCII, for what came in may not be text that can go out."""
        refusal = Refusal(detail=tuple(Problem.model_validate(problem) for problem in self.problems))
        return refusal.model_dump_json(ensure_ascii=True)


def read_request(body: bytes, classes: ClassList, max_count: int) -> tuple[list[Request], Format]:
    """The sounds asked for, one request each; raises Refused naming every wrong field."""
    allowed = _allowed(classes, max_count)
    try:
        asked = SoundsRequest.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise Refused(*(_field_error(dict(item), allowed) for item in error.errors())) from None
    try:
        if asked.class_name is None and asked.prompt is None:
            raise FieldError("class", "is missing, and so is a prompt", allowed["class"])
        label = None if asked.class_name is None else _label(asked.class_name, classes)
        if asked.count > max_count:
            raise FieldError("count", f"{asked.count} is out of bounds", allowed["count"])
        seed = secrets.randbelow(DRAWN_SEEDS - asked.count) if asked.seed is None else asked.seed
        return consecutive(label, seed, asked.count, asked.params, asked.prompt), asked.format
    except FieldError as problem:
        raise Refused(problem) from None


def _allowed(classes: ClassList, max_count: int) -> dict[str, tuple[str, ...] | str]:
    return {
        "class": classes.names,
        "prompt": PROMPTS,
        "count": f"a whole number from 1 to {max_count}",
        "seed": f"a whole number from 0 to {SEEDS - 1}",
        "format": tuple(FORMATS),
        "params": "an object of up to 64 sampling parameters, see GET /v1/classes",
    }


def _label(text: str, classes: ClassList) -> int:
    try:
        return classes.index(text)
    except UserError:
        names = dict(zip(classes.names, classes.names, strict=True)) | classes.aliases
        near = closest(text[:64], names)
        raise FieldError("class", f"unknown class {ascii(text)[:64]}", classes.names, near and names[near]) from None


def _field_error(item: dict[str, Any], allowed: dict[str, tuple[str, ...] | str]) -> FieldError:
    if not item["loc"] or item["type"] == "json_invalid":
        return FieldError("body", item["msg"], f"a JSON object with the keys {', '.join(allowed)}")
    field = str(item["loc"][0])[:64]
    if item["type"] == "extra_forbidden":
        return FieldError(field, "unknown key", tuple(allowed), closest(field, allowed))
    if item["type"] == "missing":
        return FieldError(field, "is missing", allowed[field])
    near = closest(str(item["input"])[:64], allowed[field]) if isinstance(allowed[field], tuple) else None
    return FieldError(field, fault(item["type"], item["input"]), allowed[field], near)
