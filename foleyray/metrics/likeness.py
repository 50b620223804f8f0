"""How alike generated and real clips of one class are by everything that takes one vector a clip, each with its interval."""

from typing import Any

from numpy.typing import NDArray

from foleyray.config import Config, UserError
from foleyray.metrics import neighbours
from foleyray.metrics.diversity import cosines, diversity, effective_number, spread
from foleyray.metrics.intervals import Measured, draws, measured, measured_share
from foleyray.metrics.kernel import kad
from foleyray.metrics.pairs import pairs

LEAST_CLIPS = neighbours.COVERAGE_K + 1


class Likeness(Config):
    """One class; the intervals stand for other clips of the same generator against the same reference."""

    kad: Measured
    precision: Measured
    recall: Measured
    density: Measured
    coverage: Measured
    expected_coverage: float
    """What as many further real clips would cover."""
    diversity: Measured
    diversity_ratio: Measured
    """Diversity over the reference's: 1 as various as real clips, 0 one sound again and again."""
    vendi: Measured


def likeness(generated: NDArray[Any], reference: NDArray[Any], *, seed: int, resamples: int = 200) -> Likeness:
    """Of vectors (N, D) and (M, D), one a clip; `seed` draws the resamples of the generated clips.

    Raises UserError where a side has fewer than six clips, dims differ, numbers are not finite, or the reference is one sound.
    """
    fewest = min(len(generated), len(reference))
    if fewest < LEAST_CLIPS:
        raise UserError(f"neighbours need {LEAST_CLIPS} clips a side at least, found {fewest}; give more, better a hundred")
    distances = pairs(generated, reference)
    real = diversity(reference)
    if real < 1e-9:
        raise UserError(f"the {len(reference)} reference clips are one and the same sound; give different ones")
    weights = draws(len(generated), resamples, seed)
    alike = cosines(generated, generated)
    return Likeness(
        kad=measured(lambda rows: kad(distances, rows), weights),
        precision=measured_share(lambda rows: neighbours.precision(distances, rows), weights),
        recall=measured_share(lambda rows: neighbours.recall(distances, rows), weights),
        density=measured(lambda rows: neighbours.density(distances, rows), weights, 0),
        coverage=measured_share(lambda rows: neighbours.coverage(distances, rows), weights),
        expected_coverage=neighbours.expected_coverage(len(reference), len(generated)),
        diversity=measured(lambda rows: spread(alike, rows), weights, 0, 2),
        diversity_ratio=measured(lambda rows: spread(alike, rows) / real, weights, 0),
        vendi=measured(lambda rows: effective_number(alike, rows), weights, 1, len(generated)),
    )
