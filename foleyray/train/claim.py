"""One writer to a run's folder: a lock that dies with its process, and the Ctrl-C that waits for the end of a step."""

import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from foleyray.config import UserError


@contextmanager
def claimed(folder: Path, patience_seconds: float = 20.0) -> Iterator[None]:
    """Holds the folder for the length of a block.

    Workers of a driver that was killed live a few seconds longer, hence the patience; raises UserError after it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as lock:
        deadline = time.monotonic() + patience_seconds
        while not _taken(lock.fileno()):
            if time.monotonic() > deadline:
                lock.seek(0)
                raise UserError(
                    f"{folder} is being trained by {lock.read().strip() or 'another process'}; wait for it or end it"
                )
            time.sleep(0.2)
        lock.truncate(0)
        print(f"process {os.getpid()} on {socket.gethostname()}", file=lock, flush=True)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def patient_interrupt() -> Iterator[Callable[[], bool]]:
    """Inside the block the first Ctrl-C only makes the function it yields true; the second one interrupts at once.

    Works where Python's own handler would have raised, which is the main thread of a program that nobody has deafened.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    asked = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
