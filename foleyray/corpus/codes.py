"""A column that a trained stage makes out of the clips: the one place where the road bends back from training to data.

<folder>/<split>/*.parquet   id, label and the column, in the files and in the order of the store it was made from
<folder>/store.json          that store's card, with the column's type and shape and the checkpoint that made it

Several of them join into one store with all their columns. The card appears last. What is interrupted goes on with the files
that are still missing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from foleyray import cluster
from foleyray.config import UserError
from foleyray.corpus.store import SPLITS, Columns, MadeColumn, Store, open_store, read_batches
from foleyray.files import write_whole
from foleyray.progress import Progress, Task

BATCH_CLIPS = 32
Encode = Callable[[Columns], NDArray[Any]]
"""Columns of some clips, as the store holds them -> the new column, first axis the clip."""


@dataclass(frozen=True)
class Recipe:
    """A column to be made: its name, the columns it is made of, the id of the checkpoint, and how an encoder is loaded."""

    name: str
    reads: tuple[str, ...]
    made_by: str
    load: Callable[[], Encode]


def make_column(store: Store, recipe: Recipe, folder: Path, *, workers: int, progress: Progress) -> Store:
    """The store of the column in `folder`, for every split; made once. `workers` 0: in this process, without Ray."""
    with suppress(UserError):
        found = open_store(folder)
        if found.fingerprint == store.fingerprint and found.card.made[recipe.name].made_by == recipe.made_by:
            return found
    pieces = [(file, folder / split / file.name) for split in SPLITS for file in store.files(split)]
    missing = [piece for piece in pieces if not piece[1].exists()]
    sizes = {file: count for split in SPLITS for file, count in store.file_sizes(split)}
    total, left = sum(sizes.values()), sum(sizes[source] for source, _ in missing)
    with progress.begin(recipe.name, total, "clips", done=total - left) as task:
        if workers and missing:
            _on_ray(missing, recipe, workers, task)
        else:
            _alone(missing, recipe, task)
    field = pq.read_schema(pieces[0][1]).field(recipe.name).type
    dtype = np.dtype(field.value_type.to_pandas_dtype()).name  # Arrow calls float32 `float`, which numpy takes for float64
    column = MadeColumn(dtype=dtype, shape=tuple(field.shape), made_by=recipe.made_by)
    card = store.card.model_copy(update={"made": {recipe.name: column}})
    write_whole(folder / "store.json", card.model_dump_json(indent=1))
    return open_store(folder)


def _alone(pieces: Sequence[tuple[Path, Path]], recipe: Recipe, task: Task) -> None:
    encode = recipe.load()
    for source, target in pieces:
        task.advance(write_piece(source, target, recipe, encode))


def write_piece(source: Path, target: Path, recipe: Recipe, encode: Encode) -> int:
    """One file of the store as one file of the column; returns its number of clips."""
    parts = list(_encoded(source, recipe, encode))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in ("id", "label", recipe.name)}
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(columns[recipe.name]))
    table = pa.table({"id": columns["id"].tolist(), "label": pa.array(columns["label"], pa.int64()), recipe.name: tensor})
    _write_table(target, table)
    return len(table)


def _write_table(target: Path, table: pa.Table) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_whole(target, sink.getvalue().to_pybytes())


def join_columns(stores: Sequence[Store], folder: Path) -> Store:
    """The store in `folder` that holds the columns of all `stores`, each made from the same one; made once.

    Raises UserError where a file of one holds other clips than that of another.
    """
    first = stores[0]
    made = {name: column for store in stores for name, column in store.card.made.items()}
    with suppress(UserError):
        found = open_store(folder)
        if found.fingerprint == first.fingerprint and found.card.made == made:
            return found
    for split in SPLITS:
        for file in first.files(split):
            target = folder / split / file.name
            if not target.exists():
                _write_table(target, _joined([store.path / split / file.name for store in stores]))
    write_whole(folder / "store.json", first.card.model_copy(update={"made": made}).model_dump_json(indent=1))
    return open_store(folder)


def _joined(files: Sequence[Path]) -> pa.Table:
    table = pq.read_table(files[0])
    for file in files[1:]:
        other = pq.read_table(file)
        if not other["id"].equals(table["id"]):
            raise UserError(
                f"{file} and {files[0]} hold different clips, the same are expected; remove both folders and train again"
            )
        for name in other.column_names[2:]:
            table = table.append_column(other.schema.field(name), other[name])
    return table


def _encoded(source: Path, recipe: Recipe, encode: Encode) -> Iterator[Columns]:
    for rows in read_batches(source, list(dict.fromkeys(["id", "label", *recipe.reads])), BATCH_CLIPS):
        yield {"id": rows["id"], "label": rows["label"], recipe.name: encode({name: rows[name] for name in recipe.reads})}


def _on_ray(pieces: Sequence[tuple[Path, Path]], recipe: Recipe, workers: int, task: Task) -> None:
    with cluster.connected():
        import ray
        import ray.data

        from foleyray.corpus.engine import num_cores

        num_gpus = int(ray.cluster_resources().get("GPU", 0))
        items = [{"source": str(source.resolve()), "target": str(target.resolve())} for source, target in pieces]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Encoder,
            fn_constructor_args=(recipe,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=max(1, min(workers, len(pieces), num_gpus or num_cores()))),
            num_cpus=0 if num_gpus else 1,
            num_gpus=1 if num_gpus else 0,
        )
        for rows in done.iter_batches(batch_size=None):
            task.advance(int(rows["clips"].sum()))


class Encoder:
    """A Ray Data actor: the path of a piece in, its number of clips out; the clips themselves stay in the files."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.encode = recipe, recipe.load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, NDArray[np.int64]]:
        written = [
            write_piece(Path(source), Path(target), self.recipe, self.encode)
            for source, target in zip(batch["source"], batch["target"], strict=True)
        ]
        return {"clips": np.array(written)}
