"""Reference statistics as files: what a Fréchet distance, and all that is said beside it, needs of real clips.

One npz of plain arrays a reference, with a header in JSON. The challenge's own statistics are read too (`official.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Self
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from foleyray.config import Config, UserError, explain
from foleyray.files import write_whole
from foleyray.metrics import official
from foleyray.metrics.distances import Moments, moments
from foleyray.metrics.embedder import EmbedderCard
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.stats import EmbeddingStats

HEADER = "header"


@dataclass(frozen=True, eq=False)
class ReferenceClass:
    """The reference clips of one class; what is None was not handed down with the statistics."""

    moments: Moments
    means: NDArray[np.float32] | None
    """One vector a clip (num_clips, D)."""
    num_clips: int
    num_silent: int | None
    num_clipped: int | None
    embedder: EmbedderCard

    @classmethod
    def of(cls, clips: ClipEmbeddings) -> Self:
        """Raises UserError where there are fewer than two rows, or a row is not finite."""
        return cls(
            moments=moments(clips.rows),
            means=clips.means().astype(np.float32),
            num_clips=clips.num_clips,
            num_silent=int(clips.silent.sum()),
            num_clipped=int(clips.clipped.sum()),
            embedder=clips.embedder,
        )


class Counts(Config):
    num_clips: int
    num_silent: int | None
    num_clipped: int | None


class Header(Config):
    """What a statistics file says of itself; the arrays of a class are `<Class>.count`, `.mean`, `.scatter` and `.means`."""

    format: Literal["foleyray reference"] = "foleyray reference"
    version: Literal[1] = 1
    embedder: EmbedderCard
    classes: dict[str, Counts]


def check_comparable(generated: EmbedderCard, reference: EmbedderCard) -> None:
    """Raises UserError where embeddings made by `generated` do not compare with the statistics of `reference`.

    Cards must agree, but for the challenge's statistics, which compare with any of the published VGGish files.
    """
    weights_alike = reference.weights_id in (generated.weights_id, official.CARD.weights_id)
    if (generated.name, generated.recipe) != (reference.name, reference.recipe) or not weights_alike:
        raise UserError(
            f"embeddings of {generated} do not compare with reference statistics of {reference}; embed the clips as the "
            f"reference was, or make the reference with {generated}"
        )


def save_reference(file: Path, classes: Mapping[str, ReferenceClass]) -> None:
    """Writes all classes into one npz, whole; raises UserError where there is none, or they are of unlike embedders."""
    cards = {str(part.embedder): part.embedder for part in classes.values()}
    if len(cards) != 1:
        raise UserError(f"a reference is of one embedder, found {' and '.join(cards) or 'no class'}; embed all classes alike")
    header = Header(
        embedder=next(iter(cards.values())),
        classes={name: Counts(**{key: getattr(part, key) for key in Counts.model_fields}) for name, part in classes.items()},
    )
    arrays = {HEADER: np.asarray(header.model_dump_json())}
    for name, part in classes.items():
        arrays |= {f"{name}.{key}": array for key, array in _stats(part.moments).to_arrays().items()}
        if part.means is not None:
            arrays[f"{name}.means"] = part.means
    content = BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content.getvalue())


def load_reference(file: Path) -> dict[str, ReferenceClass]:
    """Class -> statistics, of a file of ours, an npz of the challenge's statistics, or a folder of its pickles.

    Raises UserError where it is none of them, is damaged, or calls itself the challenge's with other numbers.
    """
    if file.is_dir():
        published = official.read_folder(file)
    else:
        arrays = _arrays(file)
        if HEADER in arrays:
            return _ours(arrays, file)
        published = official.read_arrays(arrays, file)
    if not published:
        raise UserError(
            f"{file} holds no reference statistics; expected a file that foleyray wrote, the challenge's npz, or its folder "
            f"of class folders with {official.PICKLE}"
        )
    return {
        name: ReferenceClass(stats, None, official.NUM_CLIPS, None, None, official.CARD) for name, stats in published.items()
    }


def _stats(spread: Moments) -> EmbeddingStats:
    if isinstance(spread, EmbeddingStats):
        return spread
    return EmbeddingStats.from_moments(spread.mean, spread.root @ spread.root.T, spread.count)


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, BadZipFile, TypeError, EOFError, KeyError, NotImplementedError, ZlibError) as error:
        raise UserError(f"{file} does not read as reference statistics ({error}); an npz is expected: make it again") from None


def _ours(arrays: Mapping[str, NDArray[Any]], file: Path) -> dict[str, ReferenceClass]:
    try:
        header = Header.model_validate_json(str(arrays[HEADER]))
        return {name: _class(arrays, name, counts, header.embedder) for name, counts in header.classes.items()}
    except ValidationError as error:
        raise UserError(f"{file} has another header than this foleyray writes: {explain(error, Header)}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}); make it again from the reference clips") from None


def _class(arrays: Mapping[str, NDArray[Any]], name: str, counts: Counts, embedder: EmbedderCard) -> ReferenceClass:
    stats = EmbeddingStats.from_arrays({key: arrays[f"{name}.{key}"] for key in ("count", "mean", "scatter")})
    if stats.count < 2:
        raise ValueError(f"{name} has {stats.count} rows, two make a reference")
    means = arrays.get(f"{name}.means")
    expected = (np.dtype(np.float32), (counts.num_clips, stats.dim))
    if means is not None and ((means.dtype, means.shape) != expected or not np.isfinite(means).all()):
        raise ValueError(f"clip means of {name} are {means.dtype} {list(means.shape)}, not finite float32 {list(expected[1])}")
    return ReferenceClass(stats, means, counts.num_clips, counts.num_silent, counts.num_clipped, embedder)
