"""Sheets as listeners send them back, JSON or CSV, and whether they hold for the page that a key belongs to."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import AwareDatetime, Field, ValidationError

from foleyray.config import Config, UserError, explain
from foleyray.listening.key import Key, Scale

COLUMNS = ["page", "rater", "item", "scale", "value", "time"]


class Rating(Config):
    """One score of one item, a clip or a set."""

    item: str
    scale: Scale
    value: int = Field(strict=True, ge=1, le=10)
    time: AwareDatetime


class Sheet(Config):
    """What one listener gave, and how many scores they left out."""

    page: str
    rater: str = Field(min_length=1, max_length=64)
    missing: int = Field(ge=0)
    ratings: tuple[Rating, ...]


@dataclass(frozen=True)
class Returned:
    """A sheet and the file it came in."""

    file: Path
    sheet: Sheet


def read_sheets(files: Sequence[Path]) -> list[Returned]:
    """Every sheet of the files; a CSV may hold several listeners.

    Raises UserError where a file is none, holds a score that is no whole number of 1 to 10, or a listener is in two files.
    """
    found = [Returned(file, sheet) for file in files for sheet in _sheets(file)]
    if not found:
        raise UserError("no ratings to read; name the files that listeners downloaded, such as ratings-anna.json")
    seen: dict[str, Path] = {}
    for returned in found:
        rater = returned.sheet.rater.strip().casefold()
        if rater in seen:
            where = f"{seen[rater]} and {returned.file}" if seen[rater] != returned.file else f"{returned.file} twice"
            raise UserError(f"rater '{returned.sheet.rater}' is in {where}; keep one of them, or give each person a name")
        seen[rater] = returned.file
    return found


def check(returned: Iterable[Returned], key: Key) -> None:
    """Raises UserError where a sheet is of another page, names what the page does not hold, or was changed."""
    for one in returned:
        sheet = one.sheet
        if sheet.page != key.page:
            raise UserError(f"{one.file} rates page {sheet.page}, the key is of page {key.page}; take the key of that page")
        seen: set[tuple[str, str]] = set()
        for rating in sheet.ratings:
            if rating.scale not in key.scales_of.get(rating.item, ()):
                raise UserError(f"{one.file} scores {rating.scale} of '{rating.item}', which page {key.page} does not ask for")
            if (rating.item, rating.scale) in seen:
                raise UserError(
                    f"{one.file} scores {rating.scale} of '{rating.item}' twice by '{sheet.rater}'; export it again"
                )
            seen.add((rating.item, rating.scale))
        if sheet.missing != key.num_scores - len(seen):
            raise UserError(
                f"{one.file} owns to {sheet.missing} missing scores by '{sheet.rater}', but {key.num_scores - len(seen)} of "
                f"{key.num_scores} are; it was changed after it was downloaded: export it again"
            )


def _sheets(file: Path) -> list[Sheet]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".json":
            return [Sheet.model_validate_json(text)]
        if file.suffix.lower() == ".csv":
            return [Sheet.model_validate(sheet) for sheet in _from_csv(file, text)]
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); name files that listeners downloaded") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is no text; expected the JSON or CSV that the rating page downloads") from None
    except ValidationError as error:
        raise UserError(f"{file} is not a sheet of ratings as the page downloads it: {explain(error, Sheet)}") from None
    raise UserError(f"{file} ends in '{file.suffix}'; expected the .json or .csv that the rating page downloads")


def _from_csv(file: Path, text: str) -> Iterator[Mapping[str, object]]:
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or list(rows[0]) != COLUMNS:
        raise UserError(f"{file} does not hold rows of {','.join(COLUMNS)}; expected the CSV that the rating page downloads")
    if odd := next((number for number, row in enumerate(rows, 2) if None in row or None in row.values()), None):
        raise UserError(f"{file}, line {odd}: expected {len(COLUMNS)} values, {','.join(COLUMNS)}; export it again")
    for page, rater in dict.fromkeys((row["page"], row["rater"]) for row in rows):
        own = [row for row in rows if (row["page"], row["rater"]) == (page, rater)]
        given = [{name: _value(row, name) for name in COLUMNS[2:]} for row in own if row["value"]]
        yield {"page": page, "rater": rater, "missing": len(own) - len(given), "ratings": given}


def _value(row: Mapping[str, str], name: str) -> object:
    """Text as it is, a whole number as one; anything else is refused where it is validated."""
    return int(row[name]) if name == "value" and row[name].isdecimal() else row[name]
