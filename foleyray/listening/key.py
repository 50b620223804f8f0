"""The key of a page: which system, class and file every opaque id stands for. It stays with whoever runs the test."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from pydantic import ValidationError

from foleyray.config import Config, UserError, explain
from foleyray.files import write_whole

Scale = Literal["quality", "fit", "diversity"]
SCALES: tuple[Scale, ...] = get_args(Scale)
CLIP_SCALES: tuple[Scale, ...] = ("quality", "fit")
"""Asked of every clip; diversity is asked of a set."""

ENDING = ".key.json"


class BlindSet(Config):
    """The clips of one class by one system, heard together."""

    system: str
    class_name: str
    clips: dict[str, str]
    """Id -> `<system>/<Class>/<file>` below the evalset."""


class Key(Config):
    """Ids count the sets (`s01`) and clips (`c001`) of a page in drawn order, so they say nothing of what is behind them."""

    page: str
    sets: dict[str, BlindSet]
    seed: int
    warnings: tuple[str, ...]

    @cached_property
    def scales_of(self) -> dict[str, tuple[Scale, ...]]:
        """Item, a clip or a set -> the scales that a whole sheet holds for it."""
        clips = {clip: CLIP_SCALES for found in self.sets.values() for clip in found.clips}
        return clips | dict.fromkeys(self.sets, ("diversity",))

    @property
    def num_scores(self) -> int:
        """Of a whole sheet."""
        return sum(len(scales) for scales in self.scales_of.values())


def key_file(page: Path) -> Path:
    """`listen.html` -> `listen.key.json`."""
    return page.with_name(page.stem + ENDING)


def save_key(file: Path, key: Key) -> None:
    """Writes the key; raises UserError where the file keeps another one, without which ratings would lose their meaning."""
    if file.exists() and load_key(file) != key:
        raise UserError(f"{file} is the key of another page, whose ratings mean nothing without it; choose another --out")
    write_whole(file, key.model_dump_json(indent=1) + "\n")


def load_key(file: Path) -> Key:
    """Raises UserError where the file is missing or is no key."""
    try:
        return Key.model_validate_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); name the .key.json that foleyray listen wrote") from None
    except (ValidationError, UnicodeDecodeError) as error:
        why = explain(error, Key) if isinstance(error, ValidationError) else "it is no text"
        raise UserError(f"{file} is not a key of foleyray listen: {why}") from None


def find_key(ratings: Sequence[Path], page: str) -> Key:
    """The one key of that page beside the files of ratings; raises UserError where there is none, or several that differ."""
    found = [(file, key) for file, key in _beside(ratings) if key.page == page]
    if not found:
        where = ", ".join(str(folder) for folder in _folders(ratings))
        raise UserError(f"no key of page {page} in {where}; put the page's {ENDING} there or name it with --key")
    if any(key != found[0][1] for _, key in found):
        files = ", ".join(str(file) for file, _ in found)
        raise UserError(f"several keys claim page {page}: {files}; name the right one with --key")
    return found[0][1]


def _beside(ratings: Sequence[Path]) -> Iterator[tuple[Path, Key]]:
    for folder in _folders(ratings):
        for file in sorted(folder.glob(f"*{ENDING}")):
            yield file, load_key(file)


def _folders(ratings: Sequence[Path]) -> list[Path]:
    return list(dict.fromkeys(file.parent for file in ratings))
