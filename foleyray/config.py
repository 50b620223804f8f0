"""Configuration: the frozen base class, YAML with `key=value` overrides, and content fingerprints.

Nothing here knows what is configured; each room declares its own `Config` beside the code that reads it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError


class UserError(ValueError):
    """A mistake that the user can mend: says what was found, what was expected, and what to do.

    Doors turn it into one sentence and exit code 2 (422 over HTTP); anything else is a fault of ours.
    """


def _below(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not path or "\\" in path or PurePosixPath(path).is_absolute() or ".." in parts:
        raise ValueError("must be a relative path that stays inside its folder")
    return path


RelativePath = Annotated[str, AfterValidator(_below)]
"""A path below the folder of the file that names it."""


class Config(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any], origin: str) -> Self:
        """Validates `values` read from `origin`; raises UserError naming each wrong key and its nearest match."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise UserError(f"{origin}: {explain(error, cls)}") from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Puts a pydantic error into one sentence a field, with the nearest known name for an unknown one."""
    sentences = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "the whole"
        if item["type"] == "extra_forbidden":
            near = nearest(str(item["loc"][-1]), model.model_fields) if len(item["loc"]) == 1 else ""
            sentences.append(f"'{where}' is not a known setting{near}")
        elif item["type"] == "missing":
            sentences.append(f"'{where}' is missing")
        else:
            sentences.append(f"'{where}' is {item['input']!r}: {item['msg']}")
    return "; ".join(sentences)


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to `word`, letter case aside, or None where none is close."""
    spellings = {name.casefold(): name for name in known}
    match = get_close_matches(word.casefold(), spellings, n=1, cutoff=0.5)
    return spellings[match[0]] if match else None


def nearest(word: str, known: Iterable[str]) -> str:
    """The closest known word as ` (did you mean 'x'?)`, or nothing where none is close."""
    found = closest(word, known)
    return f" (did you mean '{found}'?)" if found else ""


def read_yaml(path: Path | str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Reads a YAML mapping and applies overrides such as `training.gan.steps=200` (values are YAML too).

    `path` may also name a file of the shipped configs/, such as `systems/contrastive_gan/tiny.yaml`. A key `base` names
    another such file, whose settings hold where this one is silent.
    """
    found = locate(path)
    try:
        document = yaml.safe_load(found.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{found} is not YAML ({str(error).splitlines()[0]}); a mapping of settings is expected") from None
    if not isinstance(document, dict):
        raise UserError(f"{found} holds {type(document).__name__}; a mapping of settings is expected")
    if "base" in document:
        document = _over(read_yaml(str(document.pop("base"))), document)
    for override in overrides:
        _override(document, override)
    return document


def locate(path: Path | str) -> Path:
    """The file itself, or the shipped config of that name; raises UserError where neither exists."""
    if Path(path).is_file():
        return Path(path)
    shipped = shipped_configs() / path
    if shipped.is_file():
        return shipped
    known = sorted(str(p.relative_to(shipped_configs())) for p in shipped_configs().rglob("*.yaml"))
    raise UserError(f"no config at '{path}'{nearest(str(path), known)}; shipped ones: {', '.join(known)}")


def shipped_configs() -> Path:
    """The configs/ folder: inside an installed wheel, or at the top of a checkout."""
    package = Path(str(files("foleyray")))
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def _over(base: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """`document` laid over `base`, mapping by mapping."""
    return base | {
        key: _over(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in document.items()
    }


def _override(document: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"override '{override}' has no '='; write it as key=value, such as training.gan.steps=200")
    *parents, last = key.split(".")
    target = document
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise UserError(f"override '{override}': '{parent}' holds a single value, so nothing lies below it")
    target[last] = yaml.safe_load(value)


def fingerprint(*parts: Any) -> str:
    """8 hex digits of the content of configs, dicts, lists and strings; equal content gives equal digits."""

    def plain(value: Any) -> Any:
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else value

    text = json.dumps([plain(part) for part in parts], sort_keys=True, separators=(",", ":"), default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
