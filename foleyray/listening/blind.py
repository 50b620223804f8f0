"""The draw: which clips are heard, in which order, and under which ids nobody can tell whose they are."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foleyray.listening.evalset import Systems


@dataclass(frozen=True)
class DrawnSet:
    """Clips of one class by one system: id -> file."""

    system: str
    class_name: str
    clips: Mapping[str, Path]

    @property
    def category(self) -> str:
        """The class in words, as listeners read it: `MovingMotorVehicle` -> `Moving motor vehicle`."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", self.class_name).split()
        return " ".join(word if index == 0 or word.isupper() else word.lower() for index, word in enumerate(words))


def draw(systems: Systems, num_clips: Mapping[str, int], seed: int) -> dict[str, DrawnSet]:
    """Sets in a drawn order, the clips of each drawn and shuffled; ids only count along it.

    The draw depends on the content and the names of all files too: whoever knows the seed and the systems' names, but has
    not got the evalset, cannot repeat it.
    """
    generator = np.random.default_rng([seed, _digest(systems)])
    pairs = [(system, name) for system, classes in systems.items() for name in classes]
    order = [pairs[at] for at in generator.permutation(len(pairs))]
    total = sum(num_clips[name] for _, name in order)
    ids = (f"c{number:0{max(3, len(str(total)))}d}" for number in range(1, total + 1))
    drawn = {}
    for number, (system, name) in enumerate(order, 1):
        files = systems[system][name]
        chosen = generator.permutation(len(files))[: num_clips[name]]
        clips = {next(ids): files[at] for at in chosen}
        drawn[f"s{number:0{max(2, len(str(len(order))))}d}"] = DrawnSet(system, name, clips)
    return drawn


def _digest(systems: Systems) -> int:
    digest = hashlib.sha256()
    for system, classes in systems.items():
        for name, files in classes.items():
            for file in files:
                digest.update(f"{system}/{name}/{file.name}\n".encode())
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
    return int.from_bytes(digest.digest())
