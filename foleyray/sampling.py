"""Sampling parameters: bounds declared once, read by the search, by request validation, by defaults and by docs."""

from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo

from foleyray.config import Config


def Float(low: float, high: float, *, start: float, help: str, batch_wide: bool = False, searched: bool = True) -> Any:
    """A number in [low, high] that begins at `start`.

    `batch_wide` values must be equal inside one batch; what is not `searched` is left to who asks for a sound.
    """
    return Field(start, ge=low, le=high, description=help, json_schema_extra=_marks(batch_wide, searched))


def Int(low: int, high: int, *, start: int, help: str, batch_wide: bool = False, searched: bool = True) -> Any:
    """A whole number in [low, high] that begins at `start`; see `Float`."""
    return Field(start, ge=low, le=high, description=help, json_schema_extra=_marks(batch_wide, searched))


def Choice(*, start: str, help: str, batch_wide: bool = False, searched: bool = True) -> Any:
    """One of the field's Literal values, beginning at `start`; see `Float`."""
    return Field(start, description=help, json_schema_extra=_marks(batch_wide, searched))


def _marks(batch_wide: bool, searched: bool) -> dict[str, Any]:
    return {"batch_wide": batch_wide, "searched": searched}


class Bounds(Config):
    """One sampling parameter in plain data: a range for numbers, the options for a choice."""

    kind: Literal["float", "int", "choice"]
    low: float | None = None
    high: float | None = None
    options: tuple[str, ...] = ()
    start: float | int | str
    batch_wide: bool
    searched: bool = True
    help: str


class SamplingParams(Config):
    """Base of every system's sampling parameters; fields are declared with Float, Int or Choice."""

    @classmethod
    def space(cls) -> dict[str, Bounds]:
        """Name -> bounds, in declaration order."""
        return {name: _bounds(field) for name, field in cls.model_fields.items()}

    def batch_key(self) -> tuple[Any, ...]:
        """The values that must be equal inside one batch."""
        return tuple(getattr(self, name) for name, bounds in self.space().items() if bounds.batch_wide)


def check_batch(params: Sequence[SamplingParams]) -> None:
    """Raises ValueError where those of one batch, all of one system, differ in a value that must be equal inside it."""
    if len({item.batch_key() for item in params}) > 1:
        names = " and ".join(f"'{name}'" for name, bounds in params[0].space().items() if bounds.batch_wide)
        raise ValueError(f"clips of one batch must agree on {names}")


def _bounds(field: FieldInfo) -> Bounds:
    extra = field.json_schema_extra
    assert isinstance(extra, dict), "declare sampling parameters with Float, Int or Choice"
    shared: dict[str, Any] = {"start": field.default, "help": field.description or "", **extra}
    if get_origin(field.annotation) is Literal:
        return Bounds(kind="choice", options=get_args(field.annotation), **shared)
    limits = {key: getattr(mark, key) for mark in field.metadata for key in ("ge", "le") if hasattr(mark, key)}
    kind: Literal["float", "int"] = "int" if field.annotation is int else "float"
    return Bounds(kind=kind, low=limits["ge"], high=limits["le"], **shared)
