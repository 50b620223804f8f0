"""Who trains together: one process alone, or the workers of a process group. All that the loop knows of Ray or ranks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Workers(Protocol):
    """The processes that train one stage, seen from one of them."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces each gradient by its mean over the workers; a missing one counts as zero unless it misses everywhere."""
        ...

    def average(self, values: Tensor) -> Tensor:
        """The mean over the workers of a tensor of one shape."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """What every worker holds, in the order of ranks; all of them must ask."""
        ...


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Alone:
    """One plain process."""

    device: torch.device
    rank: int = 0
    size: int = 1

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        pass

    def average(self, values: Tensor) -> Tensor:
        return values

    def gather(self, value: Any) -> list[Any]:
        return [value]


class Group:
    """The default process group of torch.distributed, which somebody else has opened."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size, self.device = dist.get_rank(), dist.get_world_size(), device

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        for dtype in dict.fromkeys(p.dtype for p in parameters):
            self._average_flat([p for p in parameters if p.dtype == dtype])

    def _average_flat(self, parameters: list[nn.Parameter]) -> None:
        """One all-reduce: the gradients end to end, then one flag a parameter that says whether it had one."""
        like = parameters[0]
        present = torch.tensor([p.grad is not None for p in parameters], dtype=like.dtype, device=like.device)
        rows = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
        flat = self.average(torch.cat([*rows, present]))
        means = torch.split(flat[: -len(parameters)], [p.numel() for p in parameters])
        somewhere = (flat[-len(parameters) :] > 0).tolist()
        for parameter, mean, found in zip(parameters, means, somewhere, strict=True):
            parameter.grad = mean.view_as(parameter) if found else None

    def average(self, values: Tensor) -> Tensor:
        dist.all_reduce(values)
        return values.div_(self.size)

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values
