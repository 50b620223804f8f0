"""Published weights on disk: where they are looked for, and the proof that they are the published ones.

How a file is read belongs to the network it is for.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from foleyray.config import UserError


@dataclass(frozen=True)
class WeightsFile:
    """One published file: its name, the sub-folder it may lie in, its size in bytes and its sha256."""

    folder: str
    name: str
    num_bytes: int
    sha256: str

    @property
    def id(self) -> str:
        """8 hex digits of the content."""
        return self.sha256[:8]

    def locate(self, given: Path | None) -> Path:
        """The file below `given`, `FOLEYRAY_WEIGHTS` or the cache folder, the first that holds it, its hash verified.

        Raises UserError where it is missing or is another file.
        """
        places = search_folders(given)
        for place in (inner for folder in places for inner in (folder / self.folder / self.name, folder / self.name)):
            if place.is_file():
                self.verify(place)
                return place
        raise UserError(
            f"{self.folder} needs {self.name} ({self.num_bytes / 1e6:.1f} MB), found in none of "
            f"{', '.join(str(folder) for folder in places)}; put it into {places[-1] / self.folder}, or name the folder "
            f"that holds it by --weights DIR or FOLEYRAY_WEIGHTS; the embedder logmel needs no weights"
        )

    def verify(self, path: Path) -> None:
        """Raises UserError where the content is not the published one."""
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            raise UserError(
                f"{path} is not the published {self.name}: sha256 {found[:16]}..., expected {self.sha256[:16]}...; numbers "
                f"measured with other weights compare with nothing, so fetch the file again"
            )


def search_folders(given: Path | None) -> list[Path]:
    """Where weights are looked for, in this order: the folder given, `FOLEYRAY_WEIGHTS`, the user's cache."""
    named = os.environ.get("FOLEYRAY_WEIGHTS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "foleyray" / "weights"
    return [*([given] if given else []), *([Path(named)] if named else []), cache]
