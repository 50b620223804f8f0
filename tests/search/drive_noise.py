"""A search of two systems in a process of its own, which a test may kill: `python -m tests.search.drive_noise FOLDER`."""

import sys
from pathlib import Path

from foleyray.checkpoint import all_steps
from foleyray.corpus.store import open_store
from foleyray.progress import Quiet
from foleyray.search.config import SearchConfig
from foleyray.search.run import search
from tests.search.toy_noise import RUNS, SYSTEM, TWIN, entry

SETTINGS = SearchConfig(trials=4, clips=8, checkpoints=2)


class Said(Quiet):
    """Keeps what is said in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def say(self, sentence: str) -> None:
        with self.file.open("a") as file:
            file.write(sentence + "\n")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    checkpoints = {
        name: {stage: all_steps(folder / "train" / stage / run) for stage in ("base", "noise")} for name, run in RUNS.items()
    }
    entries = [entry(SETTINGS, system, pause_seconds=0.1) for system in (SYSTEM, TWIN)]
    search(entries, checkpoints, open_store(folder / "store"), folder / "search", progress=Said(folder / "said"))
