"""Contenders measured again on fresh seeds and on clips the search never saw, in this process or in several on Ray.

<searched>/<class>/measured.json     everything that was measured of the class's contenders, as soon as it is measured
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from foleyray import cluster
from foleyray.config import Config
from foleyray.files import write_whole
from foleyray.metrics.scores import ClassScore
from foleyray.search.config import SearchConfig
from foleyray.search.evaluator import Evaluator, Params
from foleyray.search.results import Contender
from foleyray.search.run import check_machine

DEATHS = 2
"""How often a process that died is begun again."""


class Terms(Config):
    """What has to be equal for two measurements to compare, in the words of `Evidence`."""

    metric: str = "fad"
    embedder: str
    recipe: str
    reference: str
    num_clips: int
    seed: int
    corpus: str


class Measured(Config):
    """What one point of one system scored on these terms."""

    system: str
    checkpoints: dict[str, str]
    params: dict[str, float | int | str]
    terms: Terms
    value: float
    interval: tuple[float, float]
    num_reference_clips: int
    diversity_ratio: float | None
    commit: str
    date: str

    def is_of(self, contender: Contender, terms: Terms) -> bool:
        ours = (self.system, self.checkpoints, self.params, self.terms)
        return ours == (contender.system, contender.checkpoints, contender.params, terms)


class Ledger:
    """What was measured of a class, kept in a file: nothing is measured twice. A file that cannot be read counts as empty."""

    file_of: TypeAdapter[list[Measured]] = TypeAdapter(list[Measured])

    def __init__(self, folder: Path) -> None:
        self.file = folder / "measured.json"
        self.known: list[Measured] = []
        with suppress(FileNotFoundError, ValidationError):
            self.known = self.file_of.validate_json(self.file.read_bytes())

    def find(self, contender: Contender, terms: Terms) -> Measured | None:
        return next((one for one in self.known if one.is_of(contender, terms)), None)

    def add(self, found: Sequence[Measured]) -> None:
        self.known += found
        write_whole(self.file, self.file_of.dump_json(self.known, indent=1))


@dataclass(frozen=True)
class Job:
    """The points of one class and one system, which any process with the system's evaluator can measure."""

    label: int
    points: Sequence[tuple[int, Params]]
    settings: SearchConfig

    def run(self, evaluator: Evaluator) -> list[ClassScore]:
        seeds, seed = self.settings.clip_seeds("promotion"), self.settings.seed
        return [evaluator.measure(self.label, candidate, params, seeds, seed) for candidate, params in self.points]


def measure(
    make: Callable[[], Evaluator], jobs: Sequence[Job], settings: SearchConfig
) -> Iterator[tuple[int, list[ClassScore]]]:
    """(label, scores) of every job: in this process where one is enough, otherwise in as many as the search had."""
    num_processes = min(settings.concurrent, len(jobs))
    if num_processes > 1:
        yield from _measure_on_ray(make, jobs, settings, num_processes)
    elif jobs:
        evaluator = make()
        for job in jobs:
            yield job.label, job.run(evaluator)


def _measure_on_ray(
    make: Callable[[], Evaluator], jobs: Sequence[Job], settings: SearchConfig, num_processes: int
) -> Iterator[tuple[int, list[ClassScore]]]:
    with cluster.connected():
        import ray
        from ray.util import ActorPool

        check_machine(settings)
        remote = ray.remote(
            num_cpus=settings.cpus_per_trial,
            num_gpus=settings.gpus_per_trial,
            max_restarts=DEATHS,
            max_task_retries=DEATHS,
        )(_Bench)
        pool = ActorPool([remote.remote(make) for _ in range(num_processes)])
        try:
            yield from pool.map_unordered(lambda bench, job: bench.run.remote(job), jobs)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None


class _Bench:
    """A Ray actor around an evaluator."""

    def __init__(self, make: Callable[[], Evaluator]) -> None:
        self.evaluator = make()

    def run(self, job: Job) -> tuple[int, list[ClassScore]]:
        return job.label, job.run(self.evaluator)
