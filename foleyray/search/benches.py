"""Work for evaluators that is no trial: in this process where one is enough, otherwise in as many as the search has."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, Self, TypeVar

from foleyray import cluster
from foleyray.search.checks import check_machine
from foleyray.search.config import SearchConfig
from foleyray.search.evaluator import Evaluator

DEATHS = 2
"""How often a process that died is begun again."""

Result = TypeVar("Result")
Found = TypeVar("Found", covariant=True)


class Job(Protocol[Found]):
    """A piece of work, in plain data, that any process with the system's evaluator can do."""

    def run(self, evaluator: Evaluator) -> Found: ...


class Benches:
    """Evaluators of one system, begun when there is work and kept, with all that they load, to the end of the block."""

    def __init__(self, make: Callable[[], Evaluator], settings: SearchConfig) -> None:
        self.make, self.settings, self.held = make, settings, ExitStack()
        self.own: Evaluator | None = None
        self.actors: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.own = None
        self.held.close()

    def work(self, jobs: Sequence[Job[Result]]) -> Iterator[tuple[int, Result]]:
        """(number of the job, its result), as they come."""
        if min(self.settings.concurrent, len(jobs)) > 1:
            yield from self._on_ray(jobs)
        elif jobs:
            self.own = self.own or self.make()
            for number, job in enumerate(jobs):
                yield number, job.run(self.own)

    def _on_ray(self, jobs: Sequence[Job[Result]]) -> Iterator[tuple[int, Result]]:
        if not self.actors:
            self.held.enter_context(cluster.connected())
            check_machine(self.settings)
        import ray
        from ray.util import ActorPool

        for _ in range(min(self.settings.concurrent, len(jobs)) - len(self.actors)):
            self.actors.append(self._actor())
        try:
            yield from ActorPool(self.actors).map_unordered(_run, list(enumerate(jobs)))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None

    def _actor(self) -> Any:
        import ray

        actor = ray.remote(
            num_cpus=self.settings.cpus_per_trial,
            num_gpus=self.settings.gpus_per_trial,
            max_restarts=DEATHS,
            max_task_retries=DEATHS,
        )(_Bench).remote(self.make)
        self.held.callback(ray.kill, actor)
        return actor


def _run(bench: Any, numbered: tuple[int, Job[Any]]) -> Any:
    return bench.run.remote(*numbered)


class _Bench:
    """A Ray actor around an evaluator."""

    def __init__(self, make: Callable[[], Evaluator]) -> None:
        self.evaluator = make()

    def run(self, number: int, job: Job[Result]) -> tuple[int, Result]:
        return number, job.run(self.evaluator)
