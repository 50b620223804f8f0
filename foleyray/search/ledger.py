"""What was measured of a class's contenders, remembered as soon as it is measured: nothing is measured twice.

<searched>/<Class>/measured.json          every point with its terms and what it scored
<searched>/<Class>/heard/<8 hex>.npz      the embeddings of a point that is part of a mixture
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from foleyray.config import Config, fingerprint
from foleyray.ensemble import Second
from foleyray.files import write_whole
from foleyray.metrics.embedder import EmbedderCard
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.search.measuring import Heard
from foleyray.search.results import Contender
from foleyray.selection import Selection

ARRAYS = ("rows", "clip", "dropped", "silent", "clipped")


class Terms(Config):
    """What has to be equal for two measurements to compare, in the words of `Evidence`."""

    metric: str = "fad"
    embedder: str
    recipe: str
    reference: str
    num_clips: int
    seed: int
    corpus: str


class Measured(Config):
    """What one point of one system, or a mixture of several, scored on these terms."""

    system: str
    checkpoints: dict[str, str]
    params: dict[str, float | int | str]
    selection: Selection | None = None
    terms: Terms
    value: float
    interval: tuple[float, float]
    num_reference_clips: int
    diversity_ratio: float | None
    second: Second | None = None
    acceptance_rate: float | None = None
    made_per_sound: float | None = None
    commit: str
    date: str

    def is_of(self, contender: Contender, terms: Terms) -> bool:
        ours = (self.system, self.checkpoints, self.params, self.selection, self.terms)
        return ours == (contender.system, contender.checkpoints, contender.params, contender.selection, terms)


class Ledger:
    """The memory of one class. A file that cannot be read counts as empty."""

    file_of: TypeAdapter[list[Measured]] = TypeAdapter(list[Measured])

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "measured.json"
        self.known: list[Measured] = []
        with suppress(FileNotFoundError, ValidationError):
            self.known = self.file_of.validate_json(self.file.read_bytes())

    def find(self, contender: Contender, terms: Terms) -> Measured | None:
        return next((one for one in self.known if one.is_of(contender, terms)), None)

    def add(self, found: Sequence[Measured]) -> None:
        self.known += found
        write_whole(self.file, self.file_of.dump_json(self.known, indent=1))

    def keep(self, contender: Contender, terms: Terms, heard: Heard) -> None:
        """Keeps what was heard of a contender, for mixtures."""
        arrays: dict[str, NDArray[Any]] = {}
        for ear, clips in (("first", heard.first), ("second", heard.second)):
            arrays |= {f"{ear}.{name}": getattr(clips, name) for name in ARRAYS}
            arrays[f"{ear}.embedder"] = np.asarray(clips.embedder.model_dump_json())
        content = BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        file = self._heard_file(contender, terms)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content.getvalue())

    def heard(self, contender: Contender, terms: Terms) -> Heard | None:
        """What was kept, without picks; None where nothing was."""
        with suppress(FileNotFoundError, BadZipFile, KeyError, ValueError):
            with np.load(self._heard_file(contender, terms), allow_pickle=False) as found:
                return Heard(_clips(found, "first"), _clips(found, "second"))
        return None

    def _heard_file(self, contender: Contender, terms: Terms) -> Path:
        of = fingerprint(contender.model_dump(mode="json", include=set(Contender.POINT)), terms)
        return self.folder / "heard" / f"{of}.npz"


def _clips(found: Mapping[str, NDArray[Any]], ear: str) -> ClipEmbeddings:
    card = EmbedderCard.model_validate_json(str(found[f"{ear}.embedder"]))
    return ClipEmbeddings(**{name: found[f"{ear}.{name}"] for name in ARRAYS}, embedder=card)
