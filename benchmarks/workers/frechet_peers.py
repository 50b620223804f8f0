"""Started by ../frechet.py in the peers' own environment: times their statistics and distance of rows in .npy files.

    python frechet_peers.py FOLDER REPEATS BUDGET_SECONDS

FOLDER holds `<case>.new.npy` and `<case>.reference.npy` (N, D). Prints one JSON object: peer -> its version and its cases.

The functions are taken by name out of the peers' installed files and compiled untouched, with numpy and scipy around them.
Their modules cannot be imported lightly: both load audio models, and one fetches a tokeniser when it is imported.
"""

import ast
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.scimath import sqrt as scisqrt
from scipy import linalg


@dataclass(frozen=True)
class Peer:
    distribution: str
    package: str
    statistics: str
    distance: str
    is_method: bool

    def functions(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """rows -> (mean, covariance), and (mean, covariance, mean, covariance) -> distance."""
        found = find_spec(self.package)
        file = Path(found.submodule_search_locations[0]) / "fad.py"
        wanted = (self.statistics, self.distance)
        nodes = [
            node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef) and node.name in wanted
        ]
        space: dict[str, Any] = {"np": np, "linalg": linalg, "scisqrt": scisqrt, "log": logging.getLogger(self.package)}
        exec(compile(ast.Module(nodes, []), str(file), "exec"), space)  # noqa: S102  (code of a package that was installed)
        before = (None,) if self.is_method else ()  # neither method uses its object
        return tuple(lambda *given, call=space[name]: call(*before, *given) for name in wanted)


PEERS = [
    Peer("frechet-audio-distance", "frechet_audio_distance", "calculate_embd_statistics", "calculate_frechet_distance", True),
    Peer("fadtk", "fadtk", "calc_embd_statistics", "calc_frechet_distance", False),
]


def main() -> None:
    folder, repeats, budget = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    warnings.simplefilter("ignore")
    logging.disable()
    results: dict[str, Any] = {}
    with redirect_stdout(sys.stderr):
        for peer in PEERS:
            cases = {}
            for file in sorted(folder.glob("*.new.npy")):
                case = file.name.removesuffix(".new.npy")
                cases[case] = measure(peer, np.load(file), np.load(folder / f"{case}.reference.npy"), repeats, budget)
            results[peer.distribution] = {"version": version(peer.distribution), "cases": cases}
    print(json.dumps(results))


def measure(peer: Peer, new: Any, reference: Any, repeats: int, budget: float) -> dict[str, Any]:
    """Its distance, and seconds of each run: `again` with the reference's statistics in hand, `once` with them made anew.

    At least one run, and no more once `budget` seconds are spent; `fault` says why there is no distance.
    """
    statistics, distance = peer.functions()
    again, once, begun = [], [], time.perf_counter()
    while len(again) < repeats and (not again or time.perf_counter() - begun < budget):
        start = time.perf_counter()
        known = statistics(reference)
        middle = time.perf_counter()
        try:
            value = float(distance(*statistics(new), *known))
        except ValueError as error:
            return {"fault": str(error)[:80], "again": [time.perf_counter() - middle], "once": [time.perf_counter() - start]}
        again.append(time.perf_counter() - middle)
        once.append(time.perf_counter() - start)
    return {"value": value, "again": again, "once": once}


if __name__ == "__main__":
    main()
