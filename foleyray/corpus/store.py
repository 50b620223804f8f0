"""The store on disk: what a corpus has become, opened and read with pyarrow alone; Ray is imported for datasets only.

store.json        class list, clip and mel specification, counts, fingerprint
manifest.jsonl    one line a clip: id, path, class, split, recording, seconds, hash, caption, warning, how, gain
rejected.jsonl    one line a file that is not in: path, class, kind, reason, twin
<split>/*.parquet id, label, wave int16 (T,), mel float16 (bands, frames); rows in random order
                  (id, label and the made columns where `codes.py` wrote it)
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from foleyray.clips import ClassList, ClipSpec, MelSpec
from foleyray.config import Config, UserError, explain, nearest
from foleyray.corpus.summary import Summary

if TYPE_CHECKING:
    import ray.data

FORMAT = 1
SPLITS = ("train", "reference", "held_out")
COLUMNS = ("id", "label", "wave", "mel")
Columns = dict[str, NDArray[Any]]
"""Columns by name, first axis the clip: id str, label int64, wave int16 (N, T), mel float16 (N, bands, frames)."""


class MadeColumn(Config):
    """A column that a trained stage made: the numpy type and shape of one clip, and the id of the checkpoint."""

    dtype: str
    shape: tuple[int, ...]
    made_by: str


class StoreCard(Config):
    """What a store is: the content of store.json."""

    format: int
    fingerprint: str
    """Of the content: which sounds, in which class and split, cut and transformed how. Equal wherever the store lies."""
    listing: str
    """Of the source as it was listed: paths, sizes, times, classes, splits. Equal: building again changes nothing."""
    source: str
    clip: ClipSpec
    mel: MelSpec
    classes: ClassList
    counts: dict[str, dict[str, int]]
    rejected: dict[str, int]
    warnings: int
    notes: tuple[str, ...]
    version: str
    made: dict[str, MadeColumn] = {}
    """Columns that stand in the place of wave and mel, in a store that training made out of another one."""


@dataclass(frozen=True)
class Store:
    """Fixed-shape clips in three splits."""

    path: Path
    card: StoreCard

    @property
    def clip(self) -> ClipSpec:
        return self.card.clip

    @property
    def mel(self) -> MelSpec:
        return self.card.mel

    @property
    def classes(self) -> ClassList:
        return self.card.classes

    @property
    def fingerprint(self) -> str:
        return self.card.fingerprint

    @property
    def columns(self) -> tuple[str, ...]:
        return ("id", "label", *self.card.made) if self.card.made else COLUMNS

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> class name -> clips; every split and every class is named."""
        return self.card.counts

    @cached_property
    def manifest(self) -> list[dict[str, Any]]:
        """One dict a clip, in the order in which the source lists them."""
        return read_lines(self.path / "manifest.jsonl")

    @cached_property
    def rejected(self) -> list[dict[str, Any]]:
        """One dict a file that is not in: path, class, kind, reason, and `twin` for a duplicate."""
        return read_lines(self.path / "rejected.jsonl")

    def summary(self) -> Summary:
        return Summary(self.card.rejected, self.card.warnings, self.card.notes)

    def num_clips(self, split: str, label: int | None = None) -> int:
        counts = self.counts[_known_split(split)]
        return sum(counts.values()) if label is None else counts[self.classes.names[label]]

    def read(self, split: str, columns: Sequence[str], label: int | None = None) -> Columns:
        """A whole split, or one class of it, in memory; the same order every time."""
        found = {name: self._empty(name, self.num_clips(split, label)) for name in self._known(columns)}
        done = 0
        for batch in self.stream(split, columns, label):
            rows = slice(done, done := done + len(next(iter(batch.values()))))
            for name in columns:
                found[name][rows] = batch[name]
        return {name: column.astype(np.str_) if name == "id" else column for name, column in found.items()}

    def stream(self, split: str, columns: Sequence[str], label: int | None = None, num_rows: int = 64) -> Iterator[Columns]:
        """One pass over a split in batches of at most `num_rows` clips; memory is bounded by a row group of the files."""
        wanted = list(dict.fromkeys([*self._known(columns), *(["label"] if label is not None else [])]))
        for file in self.files(split):
            for arrays in read_batches(file, wanted, num_rows):
                kept = slice(None) if label is None else arrays["label"] == label
                found = {name: arrays[name][kept] for name in columns}
                if len(next(iter(found.values()))):
                    yield found

    def dataset(self, split: str, columns: Sequence[str]) -> "ray.data.Dataset":
        """The same clips as a Ray dataset whose batches are fixed-shape arrays; raises UserError for an empty split."""
        from foleyray.corpus.engine import read_columns

        if not self.files(split):
            raise UserError(f"{self.path} holds no clip in the split '{split}'; build the corpus with more recordings")
        return read_columns(self.files(split), self._known(columns))

    def files(self, split: str) -> list[Path]:
        return sorted((self.path / _known_split(split)).glob("*.parquet"))

    def file_sizes(self, split: str) -> list[tuple[Path, int]]:
        """Every file of a split with its number of clips; only footers are read."""
        return [(file, pq.read_metadata(file).num_rows) for file in self.files(split)]

    def _known(self, columns: Sequence[str]) -> list[str]:
        for name in columns:
            if name not in self.columns:
                near, known = nearest(name, self.columns), ", ".join(self.columns)
                raise UserError(f"the store has no column '{name}'{near}; columns: {known}")
        return list(columns)

    def _empty(self, name: str, count: int) -> NDArray[Any]:
        if made := self.card.made.get(name):
            return np.empty((count, *made.shape), made.dtype)
        shapes: dict[str, tuple[type, tuple[int, ...]]] = {
            "id": (object, ()),
            "label": (np.int64, ()),
            "wave": (np.int16, (self.clip.num_samples,)),
            "mel": (np.float16, (self.mel.bands, self.mel.frames(self.clip.num_samples))),
        }
        kind, shape = shapes[name]
        return np.empty((count, *shape), kind)


def open_store(path: Path | str) -> Store:
    """Opens a store in milliseconds; raises UserError where there is none, or one of another format."""
    path = Path(path)
    try:
        document = json.loads((path / "store.json").read_text(encoding="utf-8"))
        found = int(document["format"])
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"no store at '{path}': expected a folder with store.json, such as `foleyray corpus` writes") from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path / 'store.json'} does not describe a store; build the corpus again into a new folder") from None
    if found != FORMAT:
        remedy = "update foleyray" if found > FORMAT else "build it again into a new folder"
        raise UserError(f"the store '{path}' has format {found}, and this foleyray reads format {FORMAT}; {remedy}")
    try:
        return Store(path, StoreCard.model_validate(document))
    except ValidationError as error:
        raise UserError(f"{path / 'store.json'}: {explain(error, StoreCard)}") from None


def read_batches(file: Path, columns: Sequence[str], num_rows: int) -> Iterator[Columns]:
    """One file of a store in batches of at most `num_rows` clips."""
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(num_rows, columns=list(columns)):
            yield {name: _to_numpy(batch.column(name)) for name in columns}


def read_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _to_numpy(column: pa.Array) -> NDArray[Any]:
    if isinstance(column, pa.FixedShapeTensorArray):
        array: NDArray[Any] = column.to_numpy_ndarray()
        return array
    return np.asarray(column.to_pylist() if pa.types.is_string(column.type) else column.to_numpy())


def _known_split(split: str) -> str:
    if split not in SPLITS:
        raise UserError(f"a store has no split '{split}'{nearest(split, SPLITS)}; splits: {', '.join(SPLITS)}")
    return split
