"""The hidden folder beside an output in which it is made; interrupted work goes on there, and a rename ends it."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from foleyray.config import UserError

_LOCK = "lock"


@contextmanager
def drafted(out: Path, key: str) -> Iterator[Path]:
    """Hands out `.<out>.<key>.part`, as an interrupted call with the same key left it, and renames it to `out` at the end.

    Drafts with other keys are removed. A UserError removes this one too; any other end keeps it for the next call.
    Raises UserError where another process is making the same output.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    for stale in [path for path in out.parent.iterdir() if path.name.startswith(f".{out.name}.") and path.suffix == ".part"]:
        if stale.name != f".{out.name}.{key}.part":
            _lock(stale, out).close()
            shutil.rmtree(stale)
    draft = out.with_name(f".{out.name}.{key}.part")
    draft.mkdir(exist_ok=True)
    with _lock(draft, out):
        try:
            yield draft
        except UserError:
            shutil.rmtree(draft)
            raise
        (draft / _LOCK).unlink()
        draft.replace(out)


def _lock(draft: Path, out: Path) -> BinaryIO:
    """Held by the process that works there, and free as soon as it has ended, in whatever way."""
    file = (draft / _LOCK).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UserError(f"another process is making '{out}' now; wait for it to end, or choose another folder") from None
    return file
