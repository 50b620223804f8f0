"""A source that is a folder per class, with or without folders of splits above them (DCASE 2023 Task 7 is one)."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from pyarrow import fs

from foleyray.config import UserError
from foleyray.corpus.rows import GIVEN_SPLITS, Row, read_csv, read_text

ATTRIBUTION = "ATTRIBUTION.csv"
DOCUMENTS = frozenset(
    {".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".md", ".rst", ".txt", ".pdf", ".html", ".htm", ".rtf", ".doc"}
    | {".docx", ".bib", ".jpg", ".jpeg", ".png", ".gif", ".svg", ".sha256", ".md5", ".db", ".ini"}
)
"""Endings that lie beside recordings and are passed over; whatever else does not decode is counted as rejected."""


def list_folder(filesystem: fs.FileSystem) -> tuple[list[Row], list[str]]:
    """Every recording below the root of `filesystem`, in path order, and remarks on the listing.

    Raises UserError where no folder holds a file, where a class folder is empty, or where split folders and class
    folders are mixed.
    """
    listing = filesystem.get_file_info(fs.FileSelector("", recursive=True))
    found = {info.path: info for info in listing if not _is_hidden(info.path)}
    files = sorted(path for path, info in found.items() if info.type == fs.FileType.File and not _is_document(path))
    folders = sorted(path for path, info in found.items() if info.type == fs.FileType.Directory)
    depth = 1 if _has_splits(files) else 0
    _refuse_empty(files, folders, depth)
    recordings, remarks = _recordings(filesystem, files, ATTRIBUTION in found)
    rows = [_row(found[path], depth, recordings.get(PurePosixPath(path).stem, "")) for path in files]
    return rows, remarks


def _has_splits(files: Sequence[str]) -> bool:
    """Whether the folders at the top are splits: all of them are named so and hold folders."""
    tops = {path.split("/")[0] for path in files if "/" in path}
    if not tops:
        raise UserError("no folder in the corpus holds a file; expected one folder per class, such as Rain/001.wav")
    splits = {path.split("/")[0] for path in files if path.count("/") >= 2 and path.split("/")[0].casefold() in GIVEN_SPLITS}
    if splits and splits != tops:
        raise UserError(
            f"the folders {sorted(splits)} are named like splits, but {sorted(tops - splits)} lie beside them; "
            "expected either split folders above class folders, or class folders alone"
        )
    return bool(splits)


def _refuse_empty(files: Sequence[str], folders: Sequence[str], depth: int) -> None:
    held = {path.split("/")[depth] for path in files if path.count("/") > depth}
    named = {path.split("/")[depth] for path in folders if path.count("/") == depth}
    if named - held:
        raise UserError(
            f"the class {', '.join(map(repr, sorted(named - held)))} is an empty folder; put recordings there or remove it"
        )


def _row(info: fs.FileInfo, depth: int, recording: str) -> Row:
    *folders, _ = info.path.split("/")
    inside = len(folders) > depth
    return Row(
        path=info.path,
        class_name=folders[depth] if inside else "",
        split=GIVEN_SPLITS[folders[0].casefold()] if inside and depth else "",
        recording=recording,
        refused="" if inside else "lies outside the class folders",
        size=info.size,
        mtime_ns=info.mtime_ns or 0,
    )


def _recordings(filesystem: fs.FileSystem, files: Sequence[str], attributed: bool) -> tuple[dict[str, str], list[str]]:
    """Stem of a file -> the recording it was cut from, where the source says so."""
    if not attributed:
        return {}, []
    table = read_csv(read_text(filesystem, ATTRIBUTION), ("id", "source_repository", "original_path"), ATTRIBUTION)
    known = {row["id"]: f"{row['source_repository']}/{row['original_path']}" for _, row in table}
    missing = sum(PurePosixPath(path).stem not in known for path in files)
    remark = f"{missing} of {len(files)} files are not in {ATTRIBUTION}; each counts as a recording of its own"
    return known, [remark] if missing else []


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.split("/"))


def _is_document(path: str) -> bool:
    name = PurePosixPath(path)
    return name.suffix.casefold() in DOCUMENTS or name.stem.upper() in {"README", "LICENSE", "LICENCE", "CREDITS", "NOTICE"}
