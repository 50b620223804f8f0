"""A note of the file being decoded, so that one that crashes its worker is found out and left aside.

A decoder written in C can take the whole process with it. Ray then tries the block again, and would do so for ever.
"""

import json
from pathlib import Path

MAX_CRASHES = 2
"""Workers that may die over one file before it is held to be the cause."""


class Attempts:
    """One block's note: file id -> workers that have begun it without coming to its end."""

    def __init__(self, note: Path) -> None:
        self.note = note
        self.crashes: dict[str, int] = _read(note)

    def may_begin(self, id: str) -> bool:
        """Notes that `id` is begun; False where it has ended too many workers already."""
        crashes = self.crashes.get(id, 0)
        if crashes < MAX_CRASHES:
            self.note.write_text(json.dumps({**self.crashes, id: crashes + 1}))
        return crashes < MAX_CRASHES

    def end(self) -> None:
        """The whole block is done."""
        self.note.unlink(missing_ok=True)


def _read(note: Path) -> dict[str, int]:
    try:
        return dict(json.loads(note.read_text()))
    except (FileNotFoundError, ValueError):  # A worker may die while it writes, too.
        return {}
