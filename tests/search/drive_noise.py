"""A search in a process of its own, which a test may kill: `python -m tests.search.drive_noise FOLDER`."""

import sys
from pathlib import Path

from foleyray.checkpoint import all_steps
from foleyray.corpus.store import open_store
from foleyray.progress import Quiet
from foleyray.search.config import SearchConfig
from foleyray.search.run import search
from tests.search.toy_noise import SYSTEM, config

SETTINGS = SearchConfig(trials=6, clips=8, checkpoints=2)


class Said(Quiet):
    """Keeps what is said in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def say(self, sentence: str) -> None:
        with self.file.open("a") as file:
            file.write(sentence + "\n")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    checkpoints = {stage: all_steps(folder / "train" / stage / "0a1b2c3d") for stage in ("base", "noise")}
    store = open_store(folder / "store")
    search(SYSTEM, config(pause_seconds=0.1), SETTINGS, store, checkpoints, folder / "search", progress=Said(folder / "said"))
