"""A bounded pool of clips: which slot is drawn next, and which one gives way to a clip that arrives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass
class Group:
    """Slots that share a class: `fresh` ones have not been drawn in this round, `spent` ones have."""

    fresh: list[int] = field(default_factory=list)
    spent: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.fresh) + len(self.spent)

    def draw(self, chance: float) -> int:
        """A fresh slot by a chance in [0, 1); where none is left, a new round begins."""
        if not self.fresh:
            self.fresh, self.spent = self.spent, []
        self.spent.append(_pop(self.fresh, chance))
        return self.spent[-1]

    def give_up(self, chance: float) -> int:
        """The slot that can best be missed: one that was drawn already, else a random one."""
        return self.spent.pop() if self.spent else _pop(self.fresh, chance)


class Pool:
    """At most `capacity` clips as tensors, in one group or, where `by_class`, in one group per label."""

    def __init__(self, capacity: int, by_class: bool) -> None:
        self.capacity, self.by_class = capacity, by_class
        self.groups: dict[int, Group] = {}
        self.columns: dict[str, Tensor] = {}
        self.size = 0

    @property
    def room(self) -> int:
        return self.capacity - self.size

    def take_in(self, rows: Mapping[str, NDArray[Any]], generator: torch.Generator) -> None:
        """Stores rows; in a full pool each takes the place of another, of its own class where that one has its share."""
        count = len(next(iter(rows.values())))
        keys = rows["label"].tolist() if self.by_class else [0] * count
        chances = torch.rand(count, generator=generator, dtype=torch.float64).tolist()
        slots = [self._place(key, chance) for key, chance in zip(keys, chances, strict=True)]
        for name, column in rows.items():
            if name not in self.columns:
                self.columns[name] = torch.empty((self.capacity, *column.shape[1:]), dtype=_tensor(column[:0]).dtype)
            self.columns[name][torch.tensor(slots, dtype=torch.long)] = _tensor(column)

    def draw(self, keys: Sequence[int], generator: torch.Generator) -> Tensor:
        """One slot for each key, int64 (B,)."""
        chances = torch.rand(len(keys), generator=generator, dtype=torch.float64).tolist()
        return torch.tensor([self.groups[key].draw(chance) for key, chance in zip(keys, chances, strict=True)])

    def _place(self, key: int, chance: float) -> int:
        group = self.groups.setdefault(key, Group())
        if self.room:
            slot, self.size = self.size, self.size + 1
        elif group.spent or len(group) >= self.capacity // len(self.groups):
            slot = group.give_up(chance)
        else:
            slot = max(self.groups.values(), key=len).give_up(chance)
        group.fresh.append(slot)
        return slot


def _pop(slots: list[int], chance: float) -> int:
    index = int(chance * len(slots))
    slots[index], slots[-1] = slots[-1], slots[index]
    return slots.pop()


def _tensor(column: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(column))
