"""What a user is told of a corpus when it is done: what is not in, what is doubtful, and what the splits lack."""

from collections.abc import Mapping
from dataclasses import dataclass

_PLAIN = {
    "undecodable": ("does not decode", "do not decode"),
    "unreadable": ("is unreadable", "are unreadable"),
    "silent": ("is silent", "are silent"),
    "duplicate": ("is a duplicate", "are duplicates"),
    "misplaced": ("is misplaced", "are misplaced"),
}


def in_words(kinds: Mapping[str, int]) -> str:
    """`3 do not decode, 1 is silent` from kinds of rejection and their counts."""
    return ", ".join(f"{count} {_PLAIN[kind][count > 1]}" for kind, count in kinds.items())


@dataclass(frozen=True)
class Summary:
    """Plain data beside the counts per class and split."""

    rejected: dict[str, int]
    """Kind of rejection -> files."""
    warnings: int
    notes: tuple[str, ...]

    def sentence(self) -> str:
        """All of it in one line, or that nothing was rejected."""
        total = sum(self.rejected.values())
        parts = [f"{total} rejected ({in_words(self.rejected)}), see rejected.jsonl" if total else "no file rejected"]
        if self.warnings:
            parts.append(f"{self.warnings} in with a warning, see manifest.jsonl")
        return "; ".join([*parts, *self.notes])
