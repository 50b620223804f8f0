"""Our Fréchet distance against those of frechet-audio-distance and fadtk: the same number, and how much sooner.

    python benchmarks/frechet.py [--quick]

Timed on each side, in float64, from rows (N, D) in memory to the distance, in processes of their own with the default threads:

- `speedup_D`, one reference met again with new rows, as search does it. Ours: `frechet(moments(new), reference)` with the
  reference's moments in hand and met before. Theirs: statistics of the new rows, then the distance to the reference's mean
  and covariance in hand, which is what their functions take.
- `speedup_once_D`, both sides new. Ours: `frechet(moments(new), moments(reference))`. Theirs: the statistics of both sides,
  then the distance.

- `limit_D`, theirs as above. Ours: the products of the new rows and the eigenvalues of that matrix, alone.

`seconds_interval_128` is the time of an interval by 200 resamples of the clips at 128 dimensions.

A speedup is the median seconds of the faster peer over ours. D and N are those of 100 clips: 128 (VGGish as the challenge
cuts it, 1,000 rows), 512 (CLAP, 100), 1,024 (YAMNet, 800), 2,048 (PANNs, 100); `full_512` has more rows than dimensions.
`max_relative_difference` is ours to any peer where covariances are of full rank, `..._few_rows` where they are singular and
the peers' matrix root is a matter of luck. `--quick` leaves 1,024 and 2,048 out.

The peers run in `.venv-peers/`, made from peers-requirements.txt when it is missing or another; how their functions are
called says workers/frechet_peers.py. Prints a table and, as its last line, one JSON object. About 95 s of processor time,
most of it the peers at 2,048 dimensions; beside other work threads wait for one another, and it takes many times as long.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foleyray.metrics.distances import frechet, frechet_interval, moments
from foleyray.metrics.embedder import EmbedderCard
from foleyray.metrics.embeddings import ClipEmbeddings

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parent / ".venv-peers"
CASES = {"128": (1000, 128), "512": (100, 512), "full_512": (1500, 512), "1024": (800, 1024), "2048": (100, 2048)}
"""Name -> rows a side, dimensions."""
QUICK = ("128", "512", "full_512")
REPEATS, BUDGET_SECONDS = 25, 15.0
"""Runs of each case and side; fewer, but one at least, once that time is spent."""

Rows = NDArray[np.float64]


def main() -> None:
    names = [name for name in CASES if name in QUICK or "--quick" not in sys.argv]
    python = environment()
    with tempfile.TemporaryDirectory() as folder:
        sides = {}
        for seed, name in enumerate(names):
            sides[name] = draw(2 * seed, *CASES[name]), draw(2 * seed + 1, *CASES[name]) + 0.1
            for side, rows in zip(("new", "reference"), sides[name], strict=True):
                np.save(Path(folder) / f"{name}.{side}.npy", rows)
        worker = [python, HERE / "workers/frechet_peers.py", folder, str(REPEATS), str(BUDGET_SECONDS)]
        answer = subprocess.run(worker, stdout=subprocess.PIPE, text=True, check=True).stdout
    peers = json.loads(answer.splitlines()[-1])
    ours = {name: measure(*pair) for name, pair in sides.items()}
    show(ours, peers)
    print(json.dumps(figures(ours, peers) | {"seconds_interval_128": round(median(interval(*sides["128"])), 4)}))


def environment() -> Path:
    """The peers' python, in an environment that is made where it is missing or not of these requirements."""
    wanted, ready = HERE / "peers-requirements.txt", ENVIRONMENT / "ready.txt"
    python = ENVIRONMENT / "bin/python"
    if not ready.exists() or ready.read_text() != wanted.read_text():
        print(f"making {ENVIRONMENT.name}/ ...", flush=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement", wanted]
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        subprocess.run([python, *install], check=True)
        ready.write_text(wanted.read_text())
    return python


def draw(seed: int, count: int, dim: int) -> Rows:
    """Correlated rows whose spread falls by ten over the dimensions."""
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.standard_normal((dim, dim)))[0]
    return generator.standard_normal((count, dim)) * np.geomspace(1, 0.1, dim) @ turn


def measure(new: Rows, reference: Rows) -> dict[str, Any]:
    known = moments(reference)
    return {
        "value": frechet(moments(new), known),
        "again": seconds(lambda: frechet(moments(new), known)),
        "once": seconds(lambda: frechet(moments(new), moments(reference))),
        "least": seconds(lambda: least(new)),
    }


def interval(new: Rows, reference: Rows) -> list[float]:
    """Seconds for 200 resamples by clip, ten rows each."""
    none = np.zeros(len(new) // 10, dtype=np.int64)
    card = EmbedderCard(name="drawn", recipe="all", weights_id="none", note="")
    clips = ClipEmbeddings(new.astype(np.float32), np.arange(len(new)) // 10, none, none > 0, none > 0, card)
    known = moments(reference)
    return seconds(lambda: frechet_interval(clips, known, resamples=200, seed=0)[0])


def least(rows: Rows) -> float:
    """What no way around an eigendecomposition can save: products of the rows, and the eigenvalues of the smaller of them."""
    products = rows.T @ rows if len(rows) > rows.shape[1] else rows @ rows.T
    return float(np.linalg.eigvalsh(products)[-1])


def seconds(call: Callable[[], float]) -> list[float]:
    """Of each run."""
    found, begun = [], time.perf_counter()
    while len(found) < REPEATS and (not found or time.perf_counter() - begun < BUDGET_SECONDS):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def show(ours: dict[str, Any], peers: dict[str, Any]) -> None:
    """Seconds of each side and variant, and how far the distances lie apart."""
    print(
        f"{'case':10s} {'rows':>5s} {'dims':>5s}  {'who':30s} {'again':>10s} {'once':>10s} {'runs':>5s}  distance, ours to it"
    )
    for name, own in ours.items():
        rows, dims = CASES[name]
        others = {f"{peer} {found['version']}": found["cases"][name] for peer, found in peers.items()}
        for who, case in {"foleyray": own, **others}.items():
            said = f"{case['value']:.9g}, {difference(own, case):.1e}" if "value" in case else f"none: {case['fault']}"
            times = f"{median(case['again']):10.5f} {median(case['once']):10.5f} {len(case['again']):5d}"
            print(f"{name:10s} {rows:5d} {dims:5d}  {who:30s} {times}  {said}")


def figures(ours: dict[str, Any], peers: dict[str, Any]) -> dict[str, Any]:
    """The JSON of the last line; a peer that found no distance in a case is no rival there."""
    found: dict[str, Any] = {"peers": ", ".join(f"{peer} {answer['version']}" for peer, answer in peers.items())}
    apart: dict[bool, list[float]] = {True: [], False: []}
    for name, own in ours.items():
        rivals = [case for answer in peers.values() if "value" in (case := answer["cases"][name])]
        rows, dims = CASES[name]
        apart[rows > dims] += [difference(own, case) for case in rivals]
        for key, variant in (("speedup_", "again"), ("speedup_once_", "once")):
            if rivals:
                faster = min(median(case[variant]) for case in rivals)
                found[key + name] = round(faster / median(own[variant]), 1)
        if rivals:
            found[f"limit_{name}"] = round(min(median(case["again"]) for case in rivals) / median(own["least"]), 1)
    found |= {f"max_relative_difference{'' if full else '_few_rows'}": max(values) for full, values in apart.items() if values}
    return found


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    return abs(ours["value"] - theirs["value"]) / theirs["value"]


if __name__ == "__main__":
    main()
