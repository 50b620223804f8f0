"""Ray Data as a corpus uses it: how many tasks at once, and Parquet files read without a crowd of actors.

The only module of the room that imports ray when it is imported; import it where a cluster is connected.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray
import ray.data


def num_cores() -> int:
    """Cores that can really work at once: on one machine the logical ones may be more."""
    logical = max(1, int(ray.cluster_resources().get("CPU", 1)))
    alone = sum(node["Alive"] for node in ray.nodes()) == 1
    return min(logical, os.cpu_count() or 1) if alone else logical


def read_columns(files: Sequence[Path], columns: Sequence[str]) -> ray.data.Dataset:
    """Rows of Parquet files; tensors come as fixed-shape arrays."""
    with _first_parquet_reader():
        dataset = ray.data.read_parquet([str(file.absolute()) for file in files], concurrency=min(len(files), num_cores()))
        return dataset.select_columns(list(columns))


@contextmanager
def _first_parquet_reader() -> Iterator[None]:
    """The second reader of Ray 2.60 starts 32 actors in each pass to look at the footers of however few files."""
    context = ray.data.DataContext.get_current()
    before, context.use_datasource_v2 = context.use_datasource_v2, False
    try:
        yield
    finally:
        context.use_datasource_v2 = before
