"""One core for each piece of work: the same bits on any number of cores, and no waiting for a busy one."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def single_threads(count: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Threads (as many as torch may use, if not told) in each of which torch works on one core, and so always rounds alike."""
    allowed = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count or allowed, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            yield threads
    finally:
        # The setting is a thread's own, but also what threads to come begin with.
        torch.set_num_threads(allowed)


def by_parts(make: Callable[[slice], Tensor], count: int, device: torch.device, at_once: int) -> list[Tensor]:
    """What `make` makes of each part of `count` clips, in order: on a CPU a clip for each thread, elsewhere `at_once` together.

    So on a CPU a clip has the same bits in any company, stays in the cache, and does not wait for a busy core a thousand times.
    """
    size = 1 if device.type == "cpu" else at_once
    parts = [slice(begin, begin + size) for begin in range(0, count, size)]
    if device.type != "cpu":
        return [make(part) for part in parts]
    with single_threads() as threads:
        return list(threads.map(make, parts))
