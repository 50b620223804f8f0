"""Published weights on disk: where they are looked for, how they are fetched, and the proof that they are the published ones.

How a file is read belongs to the network it is for.
"""

import hashlib
import http.client
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from foleyray.config import UserError
from foleyray.progress import Progress, Quiet

CHUNK = 1 << 20
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class WeightsFile:
    """One published file: its name, the sub-folder it may lie in, its size in bytes, its hash, and its address.

    The size is rounded where the exact one is not public. `md5` stands in where no sha256 is.
    """

    folder: str
    name: str
    num_bytes: int
    sha256: str = ""
    md5: str = ""
    url: str = ""

    @property
    def id(self) -> str:
        """8 hex digits of the content."""
        return (self.sha256 or self.md5)[:8]

    def find(self, given: Path | None) -> Path | None:
        """The file below `given`, `FOLEYRAY_WEIGHTS` or the cache folder, the first that holds it, its hash verified.

        Raises UserError where it is another file of that name.
        """
        for folder in search_folders(given):
            for place in (folder / self.folder / self.name, folder / self.name):
                if place.is_file():
                    self.verify(place)
                    return place
        return None

    def locate(self, given: Path | None, progress: Progress = Quiet()) -> Path:
        """The file where `find` sees it, else fetched into the cache folder.

        Raises UserError where it is missing and cannot be fetched, or is another file.
        """
        found = self.find(given)
        if found:
            return found
        places = search_folders(given)
        if self.url and not offline():
            return self._fetch(places[-1] / self.folder, given, progress)
        raise UserError(
            f"{self._wanted()}, found in none of {', '.join(str(folder) for folder in places)}; {self._by_hand(given)}; "
            f"the embedder logmel needs no weights"
        )

    def _fetch(self, folder: Path, given: Path | None, progress: Progress) -> Path:
        """Downloads the file into `folder`, whole and verified or not at all."""
        draft = folder / f".{self.name}.{os.getpid()}.part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._download(draft, progress)
            self.verify(draft, f"what {self.url} sent")
            return draft.replace(folder / self.name)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(
                f"{self._wanted()}, and {self.url} could not be fetched ({error}); {self._by_hand(given)}"
            ) from None
        finally:
            draft.unlink(missing_ok=True)

    def verify(self, path: Path, called: str = "") -> None:
        """Raises UserError, naming the path or what it is `called`, where the content is not the published one."""
        kind, expected = ("sha256", self.sha256) if self.sha256 else ("md5", self.md5)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != expected:
            raise UserError(
                f"{called or path} is not the published {self.name}: {kind} {found[:16]}..., expected {expected[:16]}...; "
                f"numbers measured with other weights compare with nothing, so fetch the file again"
            )

    def _download(self, draft: Path, progress: Progress) -> None:
        with urllib.request.urlopen(self.url, timeout=TIMEOUT_SECONDS) as answer, draft.open("wb") as file:
            total = int(answer.headers.get("Content-Length") or 0)
            with progress.begin(f"fetching {self.name}", total or None, "bytes") as task:
                while chunk := answer.read(CHUNK):
                    task.advance(file.write(chunk))
            if file.tell() < total:
                raise ConnectionError(f"the connection ended after {file.tell():,} of {total:,} bytes")

    def _wanted(self) -> str:
        return f"{self.folder} needs {self.name} ({self.num_bytes / 1e6:.1f} MB)"

    def _by_hand(self, given: Path | None) -> str:
        take = f"fetch it from {self.url} and " if self.url else ""
        return (
            f"{take}put it into {search_folders(given)[-1] / self.folder}, or name the folder that holds it by --weights DIR "
            f"or FOLEYRAY_WEIGHTS"
        )


def search_folders(given: Path | None) -> list[Path]:
    """Where weights are looked for, in this order: the folder given, `FOLEYRAY_WEIGHTS`, the user's cache."""
    named = os.environ.get("FOLEYRAY_WEIGHTS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "foleyray" / "weights"
    return [*([given] if given else []), *([Path(named)] if named else []), cache]


def offline() -> bool:
    """Whether `HF_HUB_OFFLINE` forbids every download."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
