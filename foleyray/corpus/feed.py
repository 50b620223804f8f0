"""Training batches without end, from a stream of clips: a bounded pool that shuffles, and balances classes.

A shard that fits into the pool is read once; later epochs cost neither reading nor decoding. Larger shards stream on,
pass after pass, each clip that has been used giving its slot to the next that arrives. Ray is not needed here: a stream
is anything that gives columns, `Store.stream` or the batches of a Ray dataset.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foleyray.config import UserError
from foleyray.corpus.pool import Group, Pool
from foleyray.stage import Batch

Columns = dict[str, NDArray[Any]]
Passes = Callable[[], Iterable[Columns]]
"""Each call begins a pass over the shard: batches of equally long columns as a store holds them, `label` among them."""


def to_batch(columns: dict[str, Tensor]) -> Batch:
    """Store types to training types: wave int16 to float32 in [-1, 1), mel float16 to float32, labels and codes as int64."""
    batch = {}
    for name, column in columns.items():
        is_number = name == "wave" or column.is_floating_point()
        wide = column.to(torch.float32 if is_number else torch.int64)
        batch[name] = wide.div_(32768.0) if name == "wave" else wide
    return batch


def batches(stream: Iterable[Columns], columns: Sequence[str]) -> Iterator[Batch]:
    """One finite pass as training batches, in the stream's own order and batch size: for validation."""
    for rows in stream:
        yield to_batch({name: torch.from_numpy(np.array(rows[name])) for name in columns})


class Feed:
    """An endless iterator of batches with `batch_size` clips each.

    Inside a class (inside the whole shard where not `balanced`) every clip is used once before any is used again.
    `balanced`: each class that the shard holds gets an equal share of every batch, the remainder going to random ones.
    `capacity_clips` bounds the pool. Equal seeds and equal streams give equal batches. Raises UserError for an empty shard.
    """

    def __init__(
        self,
        passes: Passes,
        columns: Sequence[str],
        batch_size: int,
        *,
        balanced: bool = False,
        seed: int = 0,
        capacity_clips: int = 8192,
    ) -> None:
        self.columns, self.batch_size = tuple(columns), batch_size
        self.kept = tuple(dict.fromkeys([*columns, *(["label"] if balanced else [])]))
        self.pool = Pool(max(capacity_clips, batch_size), balanced)
        self.generator = torch.Generator().manual_seed(seed)
        self.left: Columns = {}
        self.stream = self._fill(passes)

    @property
    def in_memory(self) -> bool:
        """Whether the whole shard lies in the pool, so that nothing is read any more."""
        return self.stream is None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        slots = self.pool.draw(self._keys(), self.generator)
        batch = to_batch({name: self.pool.columns[name][slots] for name in self.columns})
        if self.stream:
            self._refill(self.batch_size)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Random state and what of the round is left; a feed in memory goes on exactly from it."""
        groups = {key: {"fresh": list(group.fresh), "spent": list(group.spent)} for key, group in self.pool.groups.items()}
        return {"generator": self.generator.get_state(), "groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`; where the shard is another one or streams, only the random state is taken over."""
        self.generator.set_state(state["generator"])
        groups = {key: Group(list(slots["fresh"]), list(slots["spent"])) for key, slots in state["groups"].items()}
        if self.in_memory and _sizes(groups) == _sizes(self.pool.groups):
            self.pool.groups = groups

    def _keys(self) -> list[int]:
        """The group of each clip of the next batch, shuffled."""
        groups = sorted(self.pool.groups)
        share, rest = divmod(self.batch_size, len(groups))
        lucky = torch.randperm(len(groups), generator=self.generator)[:rest].tolist()
        keys = [key for key in groups for _ in range(share)] + [groups[index] for index in lucky]
        return [keys[index] for index in torch.randperm(len(keys), generator=self.generator).tolist()]

    def _fill(self, passes: Passes) -> Iterator[Columns] | None:
        """Takes in clips until the pool is full; gives what is left of the stream, or None where that was all."""
        first = iter(passes())
        for rows in first:
            head, tail = _cut(self._select(rows), self.pool.room)
            self.pool.take_in(head, self.generator)
            if _length(tail):
                self.left = tail
                return map(self._select, chain(first, _endless(passes)))
        if not self.pool.size:
            raise UserError("there are no clips to train on; build a corpus with clips in the split 'train'")
        return None

    def _refill(self, count: int) -> None:
        """Takes `count` clips from the stream, each into the place of one that can be missed."""
        assert self.stream is not None
        while count:
            head, self.left = _cut(self.left if _length(self.left) else next(self.stream), count)
            self.pool.take_in(head, self.generator)
            count -= _length(head)

    def _select(self, rows: Columns) -> Columns:
        return {name: rows[name] for name in self.kept}


def _endless(passes: Passes) -> Iterator[Columns]:
    while True:
        yield from passes()


def _cut(rows: Columns, count: int) -> tuple[Columns, Columns]:
    return {name: column[:count] for name, column in rows.items()}, {name: column[count:] for name, column in rows.items()}


def _length(rows: Columns) -> int:
    return len(next(iter(rows.values())))


def _sizes(groups: Mapping[int, Group]) -> dict[int, int]:
    return {key: len(group) for key, group in groups.items()}
