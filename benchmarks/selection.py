"""What choosing costs on cached pools, against making the sounds anew, and what Tune adds to a trial of making.

    python benchmarks/selection.py [--quick]

- `choosing_seconds`, `..._vggish`: 7 classes, each a pool of 400 clips (40 requests, 10 candidates) that is read from
  memory, 4 candidate counts with up to 100 thresholds each; from scores and embeddings to the chosen option. The embeddings
  are drawn, of the size that YAMNet has (1,024 dimensions, 8 rows a clip) and VGGish (128, 4), the reference has 100 clips.
  One process; options are compared on all cores. `choosing_cpu_seconds` are of all threads: comparable beside other work.
  `options` and `distances` count what was tried and what was unlike.
- `making_seconds_a_clip` is measured: the tiny contrastive system with untrained weights (which take as long as trained ones)
  and the log-mel embedder, in batches of 16. Without pools every option would make its own sounds: 40 requests times the
  candidates that the option made for each, of all options and classes; that many clips over the choosing is
  `factor_over_regenerating`. `factor_over_one_pool` is the same of the pools themselves: how little choosing adds to them.
- `overhead_seconds_per_trial`: 105 trials (7 classes) of no work in real Ray Tune with the settings of the search, between
  the end of the first trial and that of the last one; `..._with_start` is everything, the start of Ray and of two processes
  and their end among it.

Prints a table and, as its last line, one JSON object. About a minute on two idle cores; `--quick`: 2 classes, 35 trials.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from foleyray import cluster
from foleyray.generation import consecutive, open_generator
from foleyray.metrics.embedder import EmbedderCard, find
from foleyray.metrics.embeddings import ClipEmbeddings, embed_clips
from foleyray.metrics.reference import ReferenceClass
from foleyray.sampling import Float, Int, SamplingParams
from foleyray.search.budget import Budget
from foleyray.search.choosing import Choice, choose, goals
from foleyray.search.config import ChoosingConfig, SearchConfig
from foleyray.search.pools import Pool
from foleyray.search.study import ClassStudy, open_journal

SIZES = {"": (1024, 8), "_vggish": (128, 4)}
"""Dimensions and rows a clip, of YAMNet and VGGish."""
CHOOSING = ChoosingConfig()
NUM_REFERENCE, SCORER_DIM, NUM_CLIPS = 100, 512, 32
CARD = EmbedderCard(name="drawn", recipe="all", weights_id="none", note="")


class Params(SamplingParams):
    truncation: float = Float(0.0, 2.0, start=1.0, help="something to search")
    steps: int = Int(1, 30, start=10, help="something else")


class Nothing:
    """An evaluator that makes no sound: what a trial takes is Tune's."""

    def climb(
        self, label: int, candidate: int, params: Mapping[str, float], seeds: Sequence[int], rungs: Sequence[int]
    ) -> Iterator[tuple[int, float]]:
        for clips in rungs:
            yield clips, abs(params["truncation"] - 1.2) + 1 / clips


def main() -> None:
    quick = "--quick" in sys.argv
    num_classes, trials = (2, 5) if quick else (7, 15)
    figures: dict[str, float | int] = {"classes": num_classes}
    a_clip = making_seconds()
    for name, size in SIZES.items():
        seconds, processor, choices = choosing(num_classes, *size)
        options = [option for choice in choices for option in choice.options]
        clips = sum(CHOOSING.requests * option.made_per_sound for option in options)
        figures |= {
            f"choosing_seconds{name}": round(seconds, 2),
            f"choosing_cpu_seconds{name}": round(processor, 2),
            f"options{name}": len(options),
            f"distances{name}": sum(len({option.places.tobytes() for option in choice.options}) for choice in choices),
            f"factor_over_regenerating{name}": round(clips * a_clip / seconds),
            f"factor_over_one_pool{name}": round(num_classes * CHOOSING.requests * CHOOSING.candidates * a_clip / seconds, 1),
        }
    figures |= {"making_seconds_a_clip": round(a_clip, 4)} | overhead(trials)
    for key, value in figures.items():
        print(f"  {key:36s} {value:>12}")
    print(json.dumps(figures))


def choosing(num_classes: int, dim: int, rows: int) -> tuple[float, float, list[Choice]]:
    """Seconds of all classes, those of all threads together, and what was chosen."""
    seconds, processor, choices = 0.0, 0.0, []
    for label in range(num_classes):
        generator = np.random.default_rng(label)
        turn = generator.standard_normal((dim, dim)) * np.geomspace(1, 0.05, dim) / np.sqrt(dim)
        count = CHOOSING.requests * CHOOSING.candidates
        reference = ReferenceClass.of(draw(generator, turn, NUM_REFERENCE, rows))
        vectors = generator.standard_normal((count, SCORER_DIM)).astype(np.float32)
        seeds = tuple(range(0, 2 * CHOOSING.requests, 2))
        pool = Pool(seeds, draw(generator, turn, count, rows), vectors, generator.normal(0.25, 0.1, count).clip(-1, 0.9))
        begun, worked = time.perf_counter(), time.process_time()
        choices.append(choose(pool, goals(pool, {}, CHOOSING), reference, "clap", CHOOSING))
        seconds, processor = seconds + time.perf_counter() - begun, processor + time.process_time() - worked
    return seconds, processor, choices


def draw(generator: np.random.Generator, turn: np.ndarray, num_clips: int, rows: int) -> ClipEmbeddings:
    """Correlated rows, those of a clip alike."""
    own = generator.standard_normal((num_clips, len(turn)))
    found = (generator.standard_normal((num_clips * rows, len(turn))) + np.repeat(own, rows, axis=0)) @ turn
    none = np.zeros(num_clips, dtype=np.int64)
    return ClipEmbeddings(found.astype(np.float32), np.repeat(np.arange(num_clips), rows), none, none > 0, none > 0, CARD)


def making_seconds() -> float:
    """Seconds in which a clip is made and heard."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.ensembles import write_untrained

    with tempfile.TemporaryDirectory() as folder:
        generator = open_generator(list(write_untrained(Path(folder), overrides=()).values())[-1].path, "cpu")
        ear, rate_hz = find("logmel", None, "cpu"), generator.roster.ensemble.clip.sample_rate_hz
        generator.warm_up()
        begun = time.perf_counter()
        waves = np.stack([sound.wave for sound in generator.generate(consecutive(0, 0, NUM_CLIPS))])
        embed_clips(ear, waves, rate_hz)
        return (time.perf_counter() - begun) / NUM_CLIPS


def overhead(trials: int) -> dict[str, float]:
    cluster.prepare()
    from foleyray.search.tuning import Studies, tune_studies

    settings, ends = SearchConfig(trials=trials, clips=8), []
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, cluster.connected():
        journal = open_journal(Path(folder) / "journal.log")
        studies = [ClassStudy(journal, f"class{n}", n, Params, {"gan": 3}, settings) for n in range(7)]
        for study in studies:
            study.resume()
        searcher = Studies(
            studies, Budget(settings, studies), settings.concurrent, lambda *told: ends.append(time.perf_counter())
        )
        tune_studies(searcher, Nothing, settings, Path(folder))
    return {
        "overhead_seconds_per_trial": round((ends[-1] - ends[0]) / (len(ends) - 1), 3),
        "overhead_seconds_per_trial_with_start": round((time.perf_counter() - begun) / len(ends), 3),
        "trials": len(ends),
    }


if __name__ == "__main__":
    main()
