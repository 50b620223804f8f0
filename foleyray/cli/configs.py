"""The configs that a command is given, one or several, with the overrides that hold for each."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foleyray.config import UserError, nearest, read_yaml

if TYPE_CHECKING:
    from foleyray.search.entries import Entry
    from foleyray.system import System, SystemConfig


def read_systems(paths: Sequence[str], overrides: Sequence[str]) -> "list[tuple[System, SystemConfig]]":
    """The systems of these configs with their settings."""
    from foleyray.system import read_config

    return [read_config(path, own) for path, own in zip(paths, shared_out(paths, overrides), strict=True)]


def read_entries(
    paths: Sequence[str], overrides: Sequence[str], embedder: str | None = None, weights: Path | None = None
) -> "list[Entry]":
    """The systems with what their configs say of the search; raises UserError where they do not compare."""
    from foleyray.search.config import SearchConfig
    from foleyray.search.entries import Entry, terms_of

    given = {"embedder": embedder, "weights": str(weights) if weights else None}
    given = {key: value for key, value in given.items() if value}
    entries = []
    for path, own, parts in zip(paths, shared_out(paths, overrides), read_systems(paths, overrides), strict=True):
        section = read_yaml(path, own).get("search") or {}
        entries.append(Entry(*parts, SearchConfig.parse(section | given, f"{path}: search")))
    terms_of(entries)
    return entries


def shared_out(paths: Sequence[str], overrides: Sequence[str]) -> list[list[str]]:
    """For each config its overrides: `key=value` holds for all of them, `system:key=value` for the one of that system."""
    systems = [str(read_yaml(path).get("system")) for path in paths]
    own: list[list[str]] = [[] for _ in paths]
    for override in overrides:
        key, equals, value = override.partition("=")
        system, colon, rest = key.partition(":")
        if colon and system not in systems:
            raise UserError(
                f"override '{override}' is for the system '{system}'{nearest(system, systems)}, but the configs are of "
                f"{', '.join(systems)}; name one of these before the colon"
            )
        for name, texts in zip(systems, own, strict=True):
            if not colon or system == name:
                texts.append(f"{rest}{equals}{value}" if colon else override)
    return own
