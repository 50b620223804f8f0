"""A source that is a table: CSV or JSON lines with `path` and `class`, and optionally `caption`, `source`, `split`."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import PureWindowsPath
from typing import Any

from pyarrow import fs

from foleyray.config import UserError
from foleyray.corpus.rows import Row, given_split, read_csv, read_text

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")


def list_table(filesystem: fs.FileSystem, name: str, home: str) -> list[Row]:
    """The files that the table `name` names, in its order; `filesystem` is rooted at the table's folder.

    Paths are relative to that folder. A whole URI is read too, where it lies below `home`, the folder's own URI.
    Raises UserError for a broken line, a missing class, an unknown split, and a path that leaves the folder.
    """
    text = read_text(filesystem, name)
    is_csv = name.casefold().endswith((".csv", ".tsv"))
    lines: Iterable[tuple[int, Mapping[str, Any]]] = (
        read_csv(text, ("path", "class"), name) if is_csv else _json_lines(text, name)
    )
    rows = [_row(cells, f"{name}, line {number}", home) for number, cells in lines]
    if not rows:
        raise UserError(f"{name} names no file; expected a line for each recording with its path and class")
    infos = filesystem.get_file_info([row.path for row in rows])
    return [
        replace(row, size=-1 if info.size is None else info.size, mtime_ns=info.mtime_ns or 0)
        for row, info in zip(rows, infos, strict=True)
    ]


def _json_lines(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                cells = json.loads(line)
            except ValueError as error:
                raise UserError(f"{name}, line {number} is not JSON ({error}); expected one object a line") from None
            if not isinstance(cells, dict):
                raise UserError(f"{name}, line {number} holds {type(cells).__name__}; expected an object with path and class")
            yield number, {key.strip().casefold(): value for key, value in cells.items()}


def _row(cells: Mapping[str, Any], origin: str, home: str) -> Row:
    values = {key: "" if value is None else str(value).strip() for key, value in cells.items()}
    for needed in ("path", "class"):
        if not values.get(needed):
            raise UserError(f"{origin} gives no {needed}; every line needs a path and a class")
    return Row(
        path=_inside(values["path"], origin, home),
        class_name=values["class"],
        split=given_split(values.get("split", ""), origin),
        recording=values.get("source", ""),
        caption=values.get("caption", ""),
    )


def _inside(path: str, origin: str, home: str) -> str:
    """The path relative to the table's folder; raises UserError where it leads out of it."""
    relative = path.removeprefix(home + "/") if "://" in path else path
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if relative.startswith("/") or "://" in relative or ".." in parts or PureWindowsPath(relative).is_absolute():
        raise UserError(
            f"{origin}: the path '{path}' leaves the manifest's folder; paths are relative to the manifest and stay below it, "
            "so put the manifest above the recordings"
        )
    return "/".join(parts)
