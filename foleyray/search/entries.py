"""Which systems take part in a search, and on what terms: their distances compare only where the terms are equal."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from foleyray.config import Config, UserError
from foleyray.search.config import SearchConfig
from foleyray.system import System, SystemConfig

SECTIONS = ("choosing", "mixing")
TERMS = ("embedder", "weights", "clips", "rungs", "promote_clips", "seed", "protocol", *SECTIONS)
"""Settings that decide a distance or what it is compared with. Budget, batch size and machines are each system's own."""


@dataclass(frozen=True)
class Entry:
    """A system that takes part: its config, and how it is searched."""

    system: System
    config: SystemConfig
    settings: SearchConfig


def terms_of(entries: Sequence[Entry]) -> SearchConfig:
    """The settings of the first entry, whose TERMS hold for all.

    Raises UserError where they do not, or where two entries are of one system.
    """
    assert entries
    for name, count in Counter(entry.system.name for entry in entries).items():
        if count > 1:
            raise UserError(f"{count} configs are of the system {name}; a search takes one config per system")
    first, *others = entries
    for other in others:
        ours_of, theirs_of = _terms(first.settings), _terms(other.settings)
        for term in ours_of | theirs_of:
            ours, theirs = ours_of.get(term), theirs_of.get(term)
            if ours != theirs:
                raise UserError(
                    f"search.{term} is {ours} for {first.system.name} and {theirs} for {other.system.name}, so their distances "
                    f"do not compare; make them equal, such as with --set search.{term}={ours}"
                )
    return first.settings


def _terms(settings: SearchConfig) -> dict[str, object]:
    """Each term and its value; a section is given or null, and its settings follow one by one, as `choosing.requests`."""
    found: dict[str, object] = {}
    for term in TERMS:
        value = getattr(settings, term)
        found[term] = value if term not in SECTIONS else "null" if value is None else "given"
        if isinstance(value, Config):
            found |= {f"{term}.{key}": part for key, part in value.model_dump().items()}
    return found
