"""Parquet files of a store: written by the workers that decode, mended where decoding changed a split.

A shard is a block of manifest rows. Its clips go to `<split>/<number>.parquet`, where the split is the one expected
before anything was decoded; `outcomes/<number>.jsonl` appears last and says that the shard is done. Ray is not imported.
"""

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pyarrow import fs

from foleyray.audio.mel import Mel
from foleyray.audio.wav import to_float
from foleyray.clips import ClipSpec, MelSpec
from foleyray.corpus.attempts import Attempts
from foleyray.corpus.decode import Outcome, decode
from foleyray.corpus.rows import Row
from foleyray.corpus.store import SPLITS, read_lines
from foleyray.files import write_whole

OUTCOMES = "outcomes"
_IN_MEMORY_BYTES = 32 << 20
_ROW_GROUP_BYTES = 8 << 20
_SHARD_BYTES = 64 << 20


def clip_bytes(clip: ClipSpec, mel: MelSpec) -> int:
    """Of one clip in memory, wave and mel."""
    return 2 * (clip.num_samples + mel.bands * mel.frames(clip.num_samples))


def clips_per_shard(num_clips: int, clip: ClipSpec, mel: MelSpec) -> int:
    """Small enough for memory and for an even load, large enough that a big corpus is not a heap of tiny files."""
    return max(1, min(512, max(32, num_clips // 64), _SHARD_BYTES // clip_bytes(clip, mel)))


def block_of(shard: int, rows: Sequence[Row], splits: Sequence[str]) -> pa.Table:
    """What a worker needs to know of the rows of one shard."""
    columns = {name: [getattr(row, name) for row in rows] for name in ("id", "path", "size", "label")}
    return pa.table({"shard": [shard] * len(rows), "split": list(splits), **columns})


def decode_shard(
    block: pa.Table, filesystem: fs.FileSystem, draft: Path, clip: ClipSpec, mel: MelSpec
) -> dict[str, NDArray[np.int64]]:
    """Turns a block of rows into Parquet files below `draft`; gives back counts only, so that no wave reaches the driver."""
    torch.set_num_threads(1)
    rows = block.to_pylist()
    number = rows[0]["shard"]
    attempts = Attempts(draft / OUTCOMES / f"{number:06d}.attempt")
    outcomes: dict[str, Outcome] = {}
    clips: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for row in rows:
        if attempts.may_begin(row["id"]):
            outcomes[row["id"]], pcm = _decode(filesystem, row["path"], row["size"], clip)
        else:
            outcomes[row["id"]], pcm = Outcome("undecodable", "does not decode: it crashes the decoder"), None
        if pcm is not None:
            clips[row["split"]].append({"id": row["id"], "label": row["label"], "wave": pcm, "mel": _log_mel(pcm, mel)})
    for split, members in clips.items():
        if members:
            write_clips(shard_file(draft, split, number), _table(members))
    write_whole(draft / OUTCOMES / f"{number:06d}.jsonl", _lines(outcomes))
    attempts.end()
    return {"clips": np.array([len(rows)]), "rejected": np.array([sum(bool(outcome.kind) for outcome in outcomes.values())])}


def _decode(filesystem: fs.FileSystem, path: str, size: int, clip: ClipSpec) -> tuple[Outcome, NDArray[np.int16] | None]:
    if size < 0:
        return Outcome("unreadable", "unreadable: there is no such file"), None
    try:
        with filesystem.open_input_file(path) as file:
            return decode(_seekable(file, size), clip)
    except OSError as error:
        return Outcome("unreadable", f"unreadable: {error}"), None


def _log_mel(pcm: NDArray[np.int16], spec: MelSpec) -> NDArray[np.float16]:
    with torch.inference_mode():
        return np.asarray(_front_end(spec)(torch.from_numpy(to_float(pcm))[None])[0].half().numpy())


@cache
def _front_end(spec: MelSpec) -> Mel:
    return Mel(spec)


def done_shards(draft: Path) -> set[int]:
    """Numbers of the shards that are whole; a draft without outcomes was left while being mended and starts anew."""
    if not (draft / OUTCOMES).is_dir():
        for split in SPLITS:
            shutil.rmtree(draft / split, ignore_errors=True)
        (draft / OUTCOMES).mkdir()
    return {int(file.stem) for file in (draft / OUTCOMES).glob("*.jsonl")}


def read_outcomes(draft: Path) -> dict[str, Outcome]:
    """Clip id -> what became of it, over all shards."""
    lines = (line for file in sorted((draft / OUTCOMES).glob("*.jsonl")) for line in read_lines(file))
    return {line.pop("id"): Outcome(**line) for line in lines}


def mend(draft: Path, number: int, wanted: Mapping[str, str]) -> None:
    """Writes one shard anew so that it holds exactly the clips of `wanted` (id -> split)."""
    files = [file for split in SPLITS if (file := shard_file(draft, split, number)).exists()]
    table = pa.concat_tables([pq.read_table(file) for file in files])
    splits = np.array([wanted.get(id, "") for id in table["id"].to_pylist()])
    for file in files:
        file.unlink()
    for split in SPLITS:
        if (splits == split).any():
            write_clips(shard_file(draft, split, number), table.filter(pa.array(splits == split)))


def shard_file(draft: Path, split: str, number: int) -> Path:
    return draft / split / f"{number:06d}.parquet"


def write_clips(file: Path, table: pa.Table) -> None:
    """A Parquet file of fixed-shape tensors, packed as sound packs best: deltas for waves, split bytes for mels."""
    draft = _beside(file)
    size = table.nbytes // max(1, table.num_rows)
    pq.write_table(
        table,
        draft,
        row_group_size=max(1, min(32, _ROW_GROUP_BYTES // max(1, size))),
        compression="zstd",
        use_dictionary=False,
        column_encoding={"wave.list.element": "DELTA_BINARY_PACKED", "mel.list.element": "BYTE_STREAM_SPLIT"},
    )
    draft.replace(file)


def _table(clips: Sequence[Mapping[str, Any]]) -> pa.Table:
    tensors = {
        name: pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack([clip[name] for clip in clips])) for name in ("wave", "mel")
    }
    labels = pa.array([clip["label"] for clip in clips], pa.int64())
    return pa.table({"id": [clip["id"] for clip in clips], "label": labels, **tensors})


def _seekable(file: Any, size: int) -> BinaryIO:
    """The whole of a small file, for one request where it lies far away; a window on a large one."""
    return io.BytesIO(file.read()) if size <= _IN_MEMORY_BYTES else io.BufferedReader(file, 1 << 20)


def _lines(outcomes: Mapping[str, Outcome]) -> str:
    return "".join(json.dumps({"id": id, **asdict(outcome)}) + "\n" for id, outcome in outcomes.items())


def _beside(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.with_name(f".{file.name}.{os.getpid()}.part")


def remove_parts(draft: Path) -> None:
    """What killed workers left half-written."""
    for part in _parts(draft):
        part.unlink(missing_ok=True)


def _parts(draft: Path) -> Iterator[Path]:
    return draft.glob("*/.*.part")
