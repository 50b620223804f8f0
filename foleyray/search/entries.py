"""Which systems take part in a search, and on what terms: their distances compare only where the terms are equal."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from foleyray.config import UserError
from foleyray.search.config import SearchConfig
from foleyray.system import System, SystemConfig

TERMS = ("embedder", "weights", "clips", "rungs", "promote_clips", "seed")
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
        for term in TERMS:
            ours, theirs = getattr(first.settings, term), getattr(other.settings, term)
            if ours != theirs:
                raise UserError(
                    f"search.{term} is {ours} for {first.system.name} and {theirs} for {other.system.name}, so their distances "
                    f"do not compare; make them equal, such as with --set search.{term}={ours}"
                )
    return first.settings
