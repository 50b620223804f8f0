"""How fast one `foleyray generate` of 64 clips is, against making the clips one at a time.

    python benchmarks/generate.py [--quick] [PATH]

PATH is an ensemble or a checkpoint; without it, the tiny system with untrained weights sounds, which takes as long as the
trained one. Prints a table and, as its last line, one JSON object: `seconds_64_clips` (files written, start-up apart),
`cpu_seconds_64_clips` (of all threads; comparable even beside other work), `clips_per_second`, `batch1_seconds` (the same
64 clips one at a time), `ratio_batch1` and `startup_seconds`.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

BEGAN = time.perf_counter()

import torch  # noqa: E402

from foleyray.generation import EnsembleSampler, Request, consecutive, open_generator, write_sounds  # noqa: E402
from foleyray.progress import Quiet  # noqa: E402

CLIPS = 64


def main() -> None:
    quick = "--quick" in sys.argv
    paths = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    with tempfile.TemporaryDirectory() as folder:
        begun, path = time.perf_counter(), Path(paths[0]) if paths else _untrained(Path(folder) / "run")
        made = time.perf_counter() - begun
        generator = open_generator(path)
        generator.warm_up()
        startup = time.perf_counter() - BEGAN - made
        processor = time.process_time()
        seconds = _seconds(generator, consecutive(0, 0, CLIPS), Path(folder) / "batched")
        processor = time.process_time() - processor
        singles = CLIPS // 8 if quick else CLIPS
        generator.max_batch = 1
        alone = _seconds(generator, consecutive(0, 1_000, singles), Path(folder) / "alone") * CLIPS / singles
    figures = {
        "seconds_64_clips": round(seconds, 2),
        "cpu_seconds_64_clips": round(processor, 2),
        "clips_per_second": round(CLIPS / seconds, 2),
        "batch1_seconds": round(alone, 2),
        "ratio_batch1": round(alone / seconds, 2),
        "startup_seconds": round(startup, 2),
    }
    print(f"{CLIPS} clips of {generator.roster.ensemble.clip.seconds:g} s, {', '.join(generator.roster.systems)}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    for name, value in figures.items():
        print(f"  {name:20s} {value:8.2f}")
    print(json.dumps(figures))


def _seconds(generator: EnsembleSampler, requests: list[Request], folder: Path) -> float:
    begun = time.perf_counter()
    write_sounds(generator, requests, folder, "wav", Quiet())
    return time.perf_counter() - begun


def _untrained(run: Path) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.ensembles import write_untrained

    return list(write_untrained(run, overrides=()).values())[-1].path


if __name__ == "__main__":
    main()
