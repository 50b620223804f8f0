"""Progress from one process to another: a worker posts what it would say on a board, the driver reads it out."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import ray
from ray.actor import ActorHandle

from foleyray.progress import Progress, Task

Event = tuple[str, tuple[Any, ...]]

POST_EVERY_SECONDS = 0.5


class Board:
    """Runs as an actor. Holds what was posted until it is read, and the first sentence about a user's mistake."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.sentence: str | None = None

    def post(self, kind: str, *values: Any) -> None:
        self.events.append((kind, values))

    def read(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def fail(self, sentence: str) -> None:
        self.sentence = self.sentence or sentence

    def failure(self) -> str | None:
        return self.sentence


class Relay:
    """The worker's `Progress`; only rank 0 is heard. Posting never waits for the board."""

    def __init__(self, board: ActorHandle, rank: int) -> None:
        self.board, self.heard = board, rank == 0

    def begin(self, what: str, total: int | None, unit: str, done: int = 0) -> Task:
        self._post("begin", what, total, unit, done)
        return _Posted(self._post)

    def say(self, sentence: str) -> None:
        self._post("say", sentence)

    def _post(self, kind: str, *values: Any) -> None:
        if self.heard:
            self.board.post.remote(kind, *values)


class _Posted:
    """Adds steps up and posts them now and then."""

    def __init__(self, post: Any) -> None:
        self.post = post
        self.count, self.note, self.posted = 0, "", time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        self.count, self.note = self.count + count, note or self.note
        if time.monotonic() - self.posted >= POST_EVERY_SECONDS:
            self._send()

    def _send(self) -> None:
        self.post("advance", self.count, self.note)
        self.count, self.posted = 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._send()
        self.post("end")


@contextmanager
def shown(board: ActorHandle, progress: Progress) -> Iterator[None]:
    """Reads the board out to `progress` for the length of a block, from a thread of its own."""
    over = threading.Event()
    reader = threading.Thread(target=_read_out, args=(board, progress, over), daemon=True)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join(timeout=10)


def _read_out(board: ActorHandle, progress: Progress, over: threading.Event) -> None:
    task: Task | None = None
    last = False
    while not last:
        last = over.wait(POST_EVERY_SECONDS)
        for kind, values in ray.get(board.read.remote()):
            if kind == "say":
                progress.say(*values)
            elif kind == "advance" and task:
                task.advance(*values)
            else:
                # a worker that died never ended its bar
                _close(task)
                task = progress.begin(*values).__enter__() if kind == "begin" else None
    _close(task)


def _close(task: Task | None) -> None:
    if task:
        task.__exit__(None, None, None)
