"""What a person at a terminal sees: moving bars, tables, and which of the progress kinds fits the output."""

import logging
import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from foleyray.progress import Plain, Progress, Quiet, Task

console = Console()
errors = Console(stderr=True)


def say(sentence: str) -> None:
    """A line of the result, as it is: no colours guessed, no breaks."""
    console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def warn(sentence: str) -> None:
    """The same to the standard error."""
    errors.print(sentence, highlight=False, markup=False, soft_wrap=True)


def progress_for(quiet: bool) -> Progress:
    """Bars on a terminal, plain log lines elsewhere, nothing with `quiet`."""
    if quiet:
        return Quiet()
    if console.is_terminal:
        return Terminal()
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("foleyray").setLevel(logging.INFO)
    return Plain()


class Terminal:
    """One moving bar a task."""

    def begin(self, what: str, total: int | None, unit: str, done: int = 0) -> Task:
        return _Bar(what, total, unit, done)

    def say(self, sentence: str) -> None:
        console.print(sentence, highlight=False, markup=False)


class _Bar:
    def __init__(self, what: str, total: int | None, unit: str, done: int) -> None:
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit, markup=False),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        ]
        self.bars = Bars(*columns, console=console, speed_estimate_period=60)
        self.bars.start()
        self.unit, self.note = unit, ""
        self.task: TaskID = self.bars.add_task(what, total=total, completed=done, note="", rate="")

    def advance(self, count: int = 1, note: str = "") -> None:
        self.note = note or self.note
        self.bars.advance(self.task, count)
        speed = self.bars.tasks[0].speed
        self.bars.update(self.task, rate=f"{speed:.1f} {self.unit}/s" if speed else "", note=self.note)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()
