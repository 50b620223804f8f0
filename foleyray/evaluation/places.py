"""What can be listened to: a folder of sounds, or a store, cut into pieces that any process reads by itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from foleyray.audio.wav import fit, read_mono, to_int16
from foleyray.clips import DCASE7, ClassList, ClipSpec
from foleyray.config import UserError
from foleyray.corpus.store import SPLITS, Store, open_store, read_batches

ENDINGS = {".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"}
CLIPS_AT_ONCE = 32


@dataclass(frozen=True)
class Batch:
    """Clips of one piece: their names, labels int64 (N,), waves (N, T) int16, or float32 in [-1, 1], and which of them were
    `refitted`: resampled, cut or padded on reading, bool (N,)."""

    names: Sequence[str]
    labels: NDArray[np.int64]
    waves: NDArray[np.int16] | NDArray[np.float32]
    refitted: NDArray[np.bool_]

    @property
    def pcm(self) -> NDArray[np.int16]:
        """The waves in 16 bits."""
        if self.waves.dtype == np.int16:
            return self.waves.astype(np.int16, copy=False)
        return to_int16(self.waves.astype(np.float32, copy=False))


class Piece(Protocol):
    """A share of a place."""

    @property
    def num_clips(self) -> int: ...

    def read(self) -> Iterator[Batch]:
        """At most CLIPS_AT_ONCE clips at a time; raises UserError for a file that is not a sound."""
        ...


@dataclass(frozen=True)
class Place:
    """`name` as the user wrote it; the labels of the pieces count in `classes`."""

    name: str
    classes: tuple[str, ...]
    clip: ClipSpec
    pieces: Sequence[Piece]

    @property
    def num_clips(self) -> int:
        return sum(piece.num_clips for piece in self.pieces)


@dataclass(frozen=True)
class Files:
    """Sound files of any format that libsndfile reads, and the label of each."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    clip: ClipSpec

    @property
    def num_clips(self) -> int:
        return len(self.paths)

    def read(self) -> Iterator[Batch]:
        found = [_read(path, self.clip) for path in self.paths]
        waves, refitted = np.stack([wave for wave, _ in found]), np.array([is_odd for _, is_odd in found])
        yield Batch([str(path) for path in self.paths], np.array(self.labels), waves, refitted)


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a store."""

    file: Path
    num_clips: int

    def read(self) -> Iterator[Batch]:
        for columns in read_batches(self.file, ["id", "label", "wave"], CLIPS_AT_ONCE):
            names = [str(name) for name in columns["id"]]
            yield Batch(names, columns["label"], columns["wave"], np.zeros(len(names), dtype=bool))


def find_place(name: str, clip: ClipSpec = ClipSpec()) -> Place:
    """A folder per class, a folder of files named `<Class>_<anything>`, or a store; `STORE:held_out` is one split of it.

    A store without a split is its `reference` and `held_out` together, never the clips that were trained on. Files are
    resampled, cut or padded to `clip`. Raises UserError where there is nothing to listen to.
    """
    folder, _, split = name.partition(":") if not Path(name).exists() else (name, "", "")
    if (Path(folder) / "store.json").is_file():
        return _store_place(name, open_store(folder), split)
    files = _files_by_class(Path(name))
    classes = tuple(files)
    pieces = [
        Files(tuple(paths[at : at + CLIPS_AT_ONCE]), (label,) * len(paths[at : at + CLIPS_AT_ONCE]), clip)
        for label, paths in enumerate(files.values())
        for at in range(0, len(paths), CLIPS_AT_ONCE)
    ]
    return Place(name, classes, clip, pieces)


def split_place(store: Store, *splits: str) -> Place:
    """Some splits of a store."""
    return Place(f"{store.path}:{'+'.join(splits)}", store.classes.names, store.clip, _shards(store, splits))


def _store_place(name: str, store: Store, split: str) -> Place:
    if split and split not in SPLITS:
        raise UserError(f"store {store.path} has no split '{split}'; splits: {', '.join(SPLITS)}")
    splits = (split,) if split else ("reference", "held_out")
    if not (pieces := _shards(store, splits)):
        raise UserError(f"{name} holds no clip in {' and '.join(splits)}; build the corpus with more recordings")
    return Place(name, store.classes.names, store.clip, pieces)


def _shards(store: Store, splits: Sequence[str]) -> list[Piece]:
    return [Shard(file, num_rows) for split in splits for file, num_rows in store.file_sizes(split)]


def _read(path: Path, clip: ClipSpec) -> tuple[NDArray[np.float32], bool]:
    """A wave (T,) that fits the clip, and whether the file had another rate or length."""
    wave = read_mono(path, clip.sample_rate_hz)
    if not np.isfinite(wave).all():
        raise UserError(f"{path} holds samples that are not finite numbers; mend or remove it, a distance would be meaningless")
    is_odd = len(wave) != clip.num_samples or soundfile.info(path).samplerate != clip.sample_rate_hz
    return fit(wave, clip.num_samples), is_odd


def _files_by_class(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise UserError(f"no folder or store at '{folder}'; expected a folder per class, or a store made by foleyray corpus")
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
            word = path.parent.name if path.parent != folder else path.stem.rpartition("_")[0] or path.stem
            files.setdefault(_class_name(word), []).append(path)
    if not files:
        raise UserError(f"no sound file below '{folder}'; expected {', '.join(sorted(ENDINGS))} in a folder per class")
    return files


def _class_name(word: str, known: ClassList = DCASE7) -> str:
    try:
        return known.names[known.index(word)]
    except UserError:
        return word
