"""A pool: every candidate of a number of requests, embedded and scored once, to choose among without making a sound.

    <searched>/pools/<8 hex>/<Class>.parquet          whole; the folder's name is of all that would change a sound or a number
    <searched>/pools/<8 hex>/<Class>.parts/*.parquet  some requests each, while it is being made

A row a candidate, request by request: `request` and `seed`, `candidate`, `wave` int16, what was heard of it (`rows` of the
embedder one after the other, `dropped`, `silent`, `clipped`), and where there is a scorer its `vector` and `likeness`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from foleyray.metrics.embedder import EmbedderCard
from foleyray.metrics.embeddings import ClipEmbeddings

CARD = b"embedder"


@dataclass(frozen=True, eq=False)
class Candidates:
    """Sounds as they were made (N): `waves` int16 (N, T), what was heard, and where there is a scorer `vectors` float32 (N, D)
    of unit length and their `likeness` float64 (N,) to the text of the class."""

    waves: NDArray[np.int16]
    clips: ClipEmbeddings
    vectors: NDArray[np.float32] | None
    likeness: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class Pool:
    """What choosing needs of R requests with C candidates each; clip r * C + c is candidate c of request r."""

    seeds: tuple[int, ...]
    clips: ClipEmbeddings
    vectors: NDArray[np.float32] | None
    """(R * C, D)."""
    likeness: NDArray[np.float64] | None
    """(R * C,), to the text of the class."""

    @property
    def num_candidates(self) -> int:
        return self.clips.num_clips // len(self.seeds)

    @property
    def unselected(self) -> NDArray[np.int64]:
        """The first candidate of every request: what is given without selection (R,)."""
        return np.arange(0, self.clips.num_clips, self.num_candidates)


@dataclass(frozen=True)
class PoolFile:
    """A pool on disk, whole or in pieces."""

    path: Path
    seeds: range
    num_candidates: int

    @property
    def parts(self) -> Path:
        return self.path.with_suffix(".parts")

    def missing(self) -> list[int]:
        """Seeds of the requests that no piece holds yet."""
        if self.path.exists():
            return []
        present = {seed for file in self.parts.glob("*.parquet") for seed in _requests(file)}
        return [seed for seed in self.seeds if seed not in present]

    def add(self, requests: Sequence[int], seeds: Sequence[int], made: Candidates) -> None:
        """A piece: all candidates of these requests, with the seeds they were made from; joined once none is missing."""
        self.parts.mkdir(parents=True, exist_ok=True)
        _write(self.parts / f"{requests[0]:020d}.parquet", [_table(requests, seeds, made, self.num_candidates)])
        if not self.missing():
            self._join()

    def _join(self) -> None:
        """One row group a piece: a reader's memory is bounded by that."""
        _write(self.path, (pq.read_table(file) for file in sorted(self.parts.glob("*.parquet"))))
        rmtree(self.parts)

    def read(self) -> Pool:
        """Without the waves."""
        table = pq.read_table(self.path, columns=[name for name in pq.read_schema(self.path).names if name != "wave"])
        rows = table["rows"].combine_chunks()
        card = EmbedderCard.model_validate_json(table.schema.metadata[CARD])
        dropped = table["dropped"].to_numpy()
        counts = table["frames"].to_numpy()
        clips = ClipEmbeddings(
            rows=rows.flatten().to_numpy().reshape(int(counts.sum()), -1),
            clip=np.repeat(np.arange(len(counts)), counts),
            dropped=dropped,
            silent=table["silent"].to_numpy(),
            clipped=table["clipped"].to_numpy(),
            embedder=card,
        )
        scored = "vector" in table.column_names
        return Pool(
            seeds=tuple(self.seeds),
            clips=clips,
            vectors=table["vector"].combine_chunks().flatten().to_numpy().reshape(len(counts), -1) if scored else None,
            likeness=table["likeness"].to_numpy() if scored else None,
        )


def _requests(file: Path) -> set[int]:
    return set(pq.read_table(file, columns=["request"])["request"].to_pylist())


def _write(file: Path, tables: Any) -> None:
    """Whole or not at all."""
    draft, writer = file.with_name(f".{file.name}.part"), None
    for table in tables:
        writer = writer or pq.ParquetWriter(draft, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    draft.replace(file)


def _table(requests: Sequence[int], seeds: Sequence[int], made: Candidates, num_candidates: int) -> pa.Table:
    clips = made.clips
    ends = np.concatenate([[0], np.cumsum(clips.counts)]) * clips.rows.shape[1]
    columns = {
        "request": np.repeat(np.asarray(requests, np.int64), num_candidates),
        "candidate": np.tile(np.arange(num_candidates, dtype=np.int32), len(requests)),
        "seed": np.asarray(seeds, np.int64),
        "wave": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(made.waves)),
        "frames": clips.counts,
        "rows": pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.array(clips.rows.ravel())),
        "dropped": clips.dropped,
        "silent": clips.silent,
        "clipped": clips.clipped,
    }
    if made.vectors is not None:
        width = made.vectors.shape[1]
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(made.vectors.ravel()), width)
        columns["likeness"] = made.likeness
    return pa.table(columns).replace_schema_metadata({CARD: clips.embedder.model_dump_json()})
