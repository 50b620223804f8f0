"""One file, whole or not at all."""

import os
from pathlib import Path


def write_whole(file: Path, content: str | bytes) -> None:
    """Writes beside the file and renames, so that a reader, or a kill at any moment, meets the old content or the new.

    Text is UTF-8. Several processes may write the same file; the last one to finish stays.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}.part")
    draft.write_bytes(content.encode() if isinstance(content, str) else content)
    draft.replace(file)
