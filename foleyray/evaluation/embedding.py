"""Embeddings of a whole place, in this process or as a Ray Data map; memory holds a batch of waves and what is kept of it.

Ray starts in about ten seconds, so it serves where there is much to listen to.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from foleyray import cluster
from foleyray.config import UserError
from foleyray.evaluation.places import Batch, Piece, Place
from foleyray.metrics.embedder import Embedder, EmbedderCard, card, find, name_and_recipe
from foleyray.metrics.embeddings import ClipEmbeddings, embed_clips
from foleyray.metrics.reference import ReferenceClass
from foleyray.metrics.signal import Signals, signals
from foleyray.metrics.stats import EmbeddingStats
from foleyray.progress import Progress, Quiet

ALONE_CLIPS = 1_000
"""Up to so many clips, starting Ray takes longer than it saves."""
NUMBERS = ("piece", "label", "frames", "dropped")
FLAGS = ("silent", "clipped", "refitted")


@dataclass(frozen=True)
class Listening:
    """Which embedder listens, with weights from where, in how many processes (0: this one, None: as many as are worth it)."""

    embedder: str
    weights: Path | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        """Raises UserError for an embedder that does not exist, before anything is read."""
        name_and_recipe(self.embedder)

    def find(self, device: torch.device | str, progress: Progress = Quiet()) -> Embedder:
        """`progress` shows the fetching of weights that are not on this machine yet."""
        return find(self.embedder, self.weights, device, progress)


@dataclass(frozen=True)
class Heard:
    """Some clips of one piece: `label` int64 and `refitted` bool (num_clips,) beside embeddings and signals."""

    piece: int
    label: NDArray[np.int64]
    refitted: NDArray[np.bool_]
    clips: ClipEmbeddings
    signals: Signals

    def by_label(self) -> "Iterator[tuple[int, Heard]]":
        for label in np.unique(self.label):
            at = np.flatnonzero(self.label == label)
            clips, waves = self.clips.take(at), self.signals.take(at)
            yield int(label), Heard(self.piece, self.label[at], self.refitted[at], clips, waves)


@dataclass(frozen=True)
class Embedded:
    """Class -> what was kept of its clips, how many of them were resampled, cut or padded on reading, and what is wrong."""

    classes: dict[str, ClipEmbeddings]
    refitted: dict[str, int]
    signals: dict[str, Signals]


def embed_place(place: Place, listening: Listening, progress: Progress) -> Embedded:
    """Every row of every clip, in the order of the place's pieces; 32 kB a clip of 4 s with yamnet.

    Raises UserError for what does not decode, and where weights are missing.
    """
    parts: dict[int, list[Heard]] = {}
    for heard in listen(place, listening, progress):
        for label, own in heard.by_label():
            parts.setdefault(label, []).append(own)
    ordered = {place.classes[label]: sorted(parts[label], key=lambda part: part.piece) for label in sorted(parts)}
    return Embedded(
        {name: ClipEmbeddings.join([part.clips for part in found]) for name, found in ordered.items()},
        {name: sum(int(part.refitted.sum()) for part in found) for name, found in ordered.items()},
        {name: Signals.join([part.signals for part in found]) for name, found in ordered.items()},
    )


def reference_of(place: Place, listening: Listening, progress: Progress) -> dict[str, ReferenceClass]:
    """Class -> statistics and one vector a clip, however many clips there are: rows are merged as they come."""
    sums: dict[int, Gathered] = {}
    for heard in listen(place, listening, progress):
        for label, own in heard.by_label():
            sums.setdefault(label, Gathered(own.clips.rows.shape[1], own.clips.embedder)).add(own.piece, own.clips)
    return {place.classes[label]: sums[label].reference() for label in sorted(sums)}


class Gathered:
    """A class's reference while it is being listened to."""

    def __init__(self, dim: int, embedder: EmbedderCard) -> None:
        self.stats, self.embedder = EmbeddingStats.empty(dim), embedder
        self.means: list[tuple[int, NDArray[np.float32]]] = []
        self.num_silent = self.num_clipped = 0

    def add(self, piece: int, clips: ClipEmbeddings) -> None:
        self.stats = self.stats.add(clips.rows)
        self.means.append((piece, clips.means().astype(np.float32)))
        self.num_silent += int(clips.silent.sum())
        self.num_clipped += int(clips.clipped.sum())

    def reference(self) -> ReferenceClass:
        means = np.concatenate([part for _, part in sorted(self.means, key=lambda part: part[0])])
        return ReferenceClass(self.stats, means, len(means), self.num_silent, self.num_clipped, self.embedder)


def listen(place: Place, listening: Listening, progress: Progress) -> Iterator[Heard]:
    """Embeddings batch by batch, of one piece in order; pieces come as they are done."""
    workers = listening.workers
    if workers is None:
        workers = 0 if place.num_clips <= ALONE_CLIPS else len(place.pieces)
    # Found here first: weights are fetched once, and an actor that cannot begin would be started again and again.
    embedder = listening.find("cpu" if workers or not torch.cuda.is_available() else "cuda", progress)
    with progress.begin(f"listening to {place.name} ({listening.embedder})", place.num_clips, "clips") as task:
        for heard in _on_ray(place, listening, card(embedder), workers) if workers else _alone(place, embedder):
            task.advance(heard.clips.num_clips)
            yield heard


def _alone(place: Place, embedder: Embedder) -> Iterator[Heard]:
    for number, piece in enumerate(place.pieces):
        for batch in piece.read():
            yield _heard(number, batch, embedder, place.clip.sample_rate_hz)


def _heard(number: int, batch: Batch, embedder: Embedder, sample_rate_hz: int) -> Heard:
    clips, waves = embed_clips(embedder, batch.waves, sample_rate_hz), signals(batch.waves, sample_rate_hz)
    return Heard(number, batch.labels, batch.refitted, clips, waves)


def _on_ray(place: Place, listening: Listening, made_by: EmbedderCard, workers: int) -> Iterator[Heard]:
    with cluster.connected():
        import ray
        import ray.data

        from foleyray.corpus.engine import num_cores

        num_gpus = int(ray.cluster_resources().get("GPU", 0))
        count = max(1, min(workers, len(place.pieces), num_gpus or num_cores()))
        items = [{"piece": number} for number in range(len(place.pieces))]
        heard = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Listener,
            fn_constructor_args=(place.pieces, listening, place.clip.sample_rate_hz),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=0 if num_gpus else 1,
            num_gpus=1 if num_gpus else 0,
        )
        for table in heard.iter_batches(batch_size=None, batch_format="pyarrow"):
            if len(table):
                yield from _unpacked(table, made_by)


class Listener:
    """A Ray Data actor: a piece's number in, a table of its embedded clips out. A mistake travels as a row."""

    def __init__(self, pieces: Sequence[Piece], listening: Listening, sample_rate_hz: int) -> None:
        torch.set_num_threads(1)
        self.pieces, self.sample_rate_hz = pieces, sample_rate_hz
        self.embedder = listening.find("cuda" if torch.cuda.is_available() else "cpu")

    def __call__(self, batch: dict[str, Any]) -> Iterator[pa.Table]:
        number = int(batch["piece"][0])
        try:
            for clips in self.pieces[number].read():
                yield _packed(_heard(number, clips, self.embedder, self.sample_rate_hz))
        except UserError as mistake:
            yield _table({"mistake": [str(mistake)]})


SCHEMA = pa.schema(
    [(name, pa.int64()) for name in NUMBERS]
    + [(name, pa.bool_()) for name in FLAGS]
    + [(field.name, pa.bool_() if field.name == "finite" else pa.float64()) for field in fields(Signals)]
    + [("rows", pa.large_binary()), ("mistake", pa.string())]
)


def _packed(heard: Heard) -> pa.Table:
    """A row a clip; its frames as bytes of float32."""
    clips, count = heard.clips, heard.clips.num_clips
    ends = np.cumsum(clips.counts)
    rows = [clips.rows[begin:end].tobytes() for begin, end in zip(ends - clips.counts, ends, strict=True)]
    columns = {
        "piece": np.full(count, heard.piece),
        "label": heard.label,
        "frames": clips.counts,
        "dropped": clips.dropped,
        "silent": clips.silent,
        "clipped": clips.clipped,
        "refitted": heard.refitted,
        "rows": rows,
        **heard.signals.columns,
    }
    return _table(columns)


def _table(columns: dict[str, Any]) -> pa.Table:
    num_rows = len(next(iter(columns.values())))
    arrays = [pa.array(columns.get(field.name, [None] * num_rows), field.type) for field in SCHEMA]
    return pa.table(arrays, schema=SCHEMA)


def _unpacked(table: pa.Table, made_by: EmbedderCard) -> Iterator[Heard]:
    """Raises UserError for a mistake that came instead of clips."""
    for mistake in table["mistake"].drop_null().to_pylist():
        raise UserError(mistake)
    pieces = table["piece"].to_numpy()
    for piece in np.unique(pieces):
        part = table.filter(pa.array(pieces == piece))
        found = {name: part[name].to_numpy() for name in (*NUMBERS, *FLAGS)}
        waves = Signals(**{field.name: part[field.name].to_numpy() for field in fields(Signals)})
        frames = found["frames"]
        rows = np.frombuffer(b"".join(part["rows"].to_pylist()), dtype=np.float32)
        clips = ClipEmbeddings(
            rows=rows.reshape(int(frames.sum()), -1),
            clip=np.repeat(np.arange(len(frames)), frames),
            dropped=found["dropped"],
            silent=found["silent"],
            clipped=found["clipped"],
            embedder=made_by,
        )
        yield Heard(int(piece), found["label"], found["refitted"], clips, waves)
