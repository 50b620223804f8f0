"""From a SOURCE to rows: where the files lie, what class each is of, and what the source says about splits.

Nothing is decoded here. `folders.py` and `tables.py` know the two forms of a source.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pyarrow as pa
from pyarrow import fs
from pydantic import ValidationError

from foleyray.clips import DCASE7, ClassList, ClipSpec, MelSpec
from foleyray.config import UserError, explain, fingerprint
from foleyray.corpus.folders import list_folder
from foleyray.corpus.rows import Row
from foleyray.corpus.store import FORMAT
from foleyray.corpus.tables import ENDINGS, list_table


@dataclass(frozen=True)
class Manifest:
    """A listed source: paths of `rows` are relative to the root of `filesystem`."""

    source: str
    filesystem: fs.FileSystem
    classes: ClassList
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()

    def fingerprint(self, clip: ClipSpec, mel: MelSpec) -> str:
        """Of the listing and of what is to be made of it; the folder that the source lies in may move."""
        listing = [
            [row.path, row.size, row.mtime_ns, row.label, row.split, row.recording, row.caption, row.refused]
            for row in self.rows
        ]
        return fingerprint(FORMAT, clip, mel, self.classes, listing)


def read_manifest(source: str) -> Manifest:
    """Lists a local folder or table, or one at any URI that pyarrow's file systems read.

    Raises UserError where there is nothing, where the source has neither form, or where it contradicts itself.
    """
    filesystem, path = _locate(source)
    try:
        kind = filesystem.get_file_info(path).type
        rows, remarks = _listed(filesystem, path, kind, source)
    except UserError as error:
        raise UserError(f"corpus '{source}': {error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"corpus '{source}': the file name {error.object!r} is not UTF-8; rename the file") from None
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot list '{source}': {error}; check the address and that you may read it") from None
    classes = class_list(row.class_name for row in rows if row.class_name)
    root = path if kind == fs.FileType.Directory else str(PurePosixPath(path).parent)
    named = tuple(
        replace(row, id=id, label=classes.index(row.class_name) if row.class_name else -1)
        for row, id in zip(rows, clip_ids([row.path for row in rows]), strict=True)
    )
    return Manifest(source, fs.SubTreeFileSystem(root, filesystem), classes, named, tuple(remarks))


def _locate(source: str) -> tuple[fs.FileSystem, str]:
    if "://" not in source:
        return fs.LocalFileSystem(), str(Path(source).expanduser().resolve())
    try:
        filesystem, path = fs.FileSystem.from_uri(source)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"'{source}' is no address that can be read: {error}") from None
    return filesystem, path.rstrip("/")


def _listed(filesystem: fs.FileSystem, path: str, kind: fs.FileType, source: str) -> tuple[list[Row], list[str]]:
    if kind == fs.FileType.Directory:
        return list_folder(fs.SubTreeFileSystem(path, filesystem))
    table = PurePosixPath(path)
    if kind == fs.FileType.NotFound or not table.name.casefold().endswith(ENDINGS):
        found = "nothing is there" if kind == fs.FileType.NotFound else "it is a single file"
        raise UserError(f"{found}; expected a folder with one folder per class, or a table ({', '.join(ENDINGS)})")
    home = source.partition("?")[0].rpartition("/")[0]
    return list_table(fs.SubTreeFileSystem(str(table.parent), filesystem), table.name, home), []


def class_list(names: Iterable[str]) -> ClassList:
    """The DCASE 2023 Task 7 classes where every name is a spelling of one of them, else the names themselves, sorted."""
    found = sorted(set(names))
    try:
        indices = sorted({DCASE7.index(name) for name in found})
    except UserError:
        try:
            return ClassList(names=tuple(found))
        except ValidationError as error:
            raise UserError(f"the class names {found} cannot stand: {explain(error, ClassList)}") from None
    present = tuple(DCASE7.names[index] for index in indices)
    return ClassList(names=present, aliases={alias: name for alias, name in DCASE7.aliases.items() if name in present})


def clip_ids(paths: Sequence[str]) -> list[str]:
    """Unique names that are safe as file names: the stem in plain letters, with a hash of the path where stems repeat."""
    stems = [_plain_stem(path) for path in paths]
    uses = Counter(stem.casefold() for stem in stems)
    ids = [stem if uses[stem.casefold()] == 1 else f"{stem}-{_hash(path)}" for stem, path in zip(stems, paths, strict=True)]
    repeats = Counter(ids)
    return [id if repeats[id] == 1 else f"{id}-{index}" for index, id in enumerate(ids)]


def _plain_stem(path: str) -> str:
    ascii = unicodedata.normalize("NFKD", PurePosixPath(path).stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", ascii).strip("-")[:64] or "clip"


def _hash(path: str) -> str:
    return sha256(path.encode()).hexdigest()[:8]
