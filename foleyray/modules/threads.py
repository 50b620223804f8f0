"""One core for each piece of work: the same bits on any number of cores, and no waiting for a busy one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


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
