"""How long work tells of itself: the contract, a silent one, and plain lines for where the output is no terminal.

Rooms are handed a `Progress` and never print. The moving bars live with the doors, in `terminal.py`.
"""

import logging
import time
from types import TracebackType
from typing import Protocol, Self

logger = logging.getLogger("foleyray")


class Task(Protocol):
    """One piece of long work; a context manager that ends the bar."""

    def advance(self, count: int = 1, note: str = "") -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Progress(Protocol):
    """Where tasks are shown."""

    def begin(self, what: str, total: int | None, unit: str, done: int = 0) -> Task:
        """A task of `total` units (None: unknown) of which `done` are already done."""
        ...

    def say(self, sentence: str) -> None:
        """One line that stays."""
        ...


class Quiet:
    """Shows nothing."""

    def begin(self, what: str, total: int | None, unit: str, done: int = 0) -> Task:
        return _Silent()

    def say(self, sentence: str) -> None:
        pass


class Plain:
    """A log line at most every `every_seconds` a task, with rate and time left."""

    def __init__(self, every_seconds: float = 15.0) -> None:
        self.every_seconds = every_seconds

    def begin(self, what: str, total: int | None, unit: str, done: int = 0) -> Task:
        return _Lines(what, total, unit, done, self.every_seconds)

    def say(self, sentence: str) -> None:
        logger.info(sentence)


class _Silent:
    def advance(self, count: int = 1, note: str = "") -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


class _Lines(_Silent):
    def __init__(self, what: str, total: int | None, unit: str, done: int, every_seconds: float) -> None:
        self.what, self.total, self.unit, self.every_seconds = what, total, unit, every_seconds
        self.first = self.done = done
        self.told_done = -1
        self.note = ""
        self.began = self.told = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        self.note = note or self.note
        if time.monotonic() - self.told >= self.every_seconds:
            self._tell()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.done > self.told_done:
            self._tell()

    def _tell(self) -> None:
        self.told, self.told_done = time.monotonic(), self.done
        rate = (self.done - self.first) / max(self.told - self.began, 1e-9)
        left = f", {(self.total - self.done) / rate:.0f} s left" if self.total and rate and self.done < self.total else ""
        whole = f"/{self.total}" if self.total else ""
        note = f", {self.note}" if self.note else ""
        logger.info("%s: %d%s %s, %.1f %s/s%s%s", self.what, self.done, whole, self.unit, rate, self.unit, left, note)
