"""One file of a source as it is listed, before anything is decoded; folders and tables both give these."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from pyarrow import fs

from foleyray.config import UserError, nearest

_SPELLINGS = {
    "train": ("train", "training", "dev", "development"),
    "reference": ("reference", "ref"),
    "held_out": ("held_out", "held-out", "heldout", "holdout"),
    "eval": ("eval", "evaluation"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
GIVEN_SPLITS = {spelling: split for split, spellings in _SPELLINGS.items() for spelling in spellings}
"""Spelling -> what a source may give: a split of ours, or `eval`, `validation`, `test`, which become two of ours."""


@dataclass(frozen=True)
class Row:
    """One file. What the source does not say is an empty string; `size` is -1 where there is no such file."""

    path: str
    class_name: str
    split: str = ""
    recording: str = ""
    caption: str = ""
    refused: str = ""
    """Why the file cannot be in, known without opening it."""
    size: int = -1
    mtime_ns: int = 0
    id: str = ""
    label: int = -1


def given_split(text: str, origin: str) -> str:
    """The canonical name of a split that a source gives; raises UserError for an unknown one, empty stays empty."""
    word = text.strip().casefold()
    if word and word not in GIVEN_SPLITS:
        raise UserError(
            f"{origin}: unknown split '{text}'{nearest(text, GIVEN_SPLITS)}; splits: {', '.join(_SPELLINGS)}, "
            "or nothing to have the clip split for you"
        )
    return GIVEN_SPLITS.get(word, "")


def read_text(filesystem: fs.FileSystem, path: str) -> str:
    with filesystem.open_input_stream(path) as stream:
        content: bytes = stream.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None


def read_csv(text: str, needed: tuple[str, ...], origin: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows of a table that may be separated by commas, semicolons or tabs; header in any letter case."""
    header = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    try:
        names = [name.strip().casefold() for name in next(lines, [])]
        missing = [name for name in needed if name not in names]
        if missing:
            raise UserError(f"{origin} has the columns {names} but no {missing}; name them in the first line")
        for cells in lines:
            if any(cell.strip() for cell in cells):
                yield lines.line_num, dict(zip(names, cells, strict=False))
    except csv.Error as error:
        raise UserError(f"{origin}, line {lines.line_num} is not CSV ({error}); save it as plain CSV") from None
