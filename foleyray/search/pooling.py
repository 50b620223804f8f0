"""Making pools: the candidates of some requests at a time, each piece on disk as soon as it is made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import gcd

import numpy as np

from foleyray.audio.wav import to_int16
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.progress import Progress
from foleyray.search.benches import Benches
from foleyray.search.evaluator import Evaluator, Params
from foleyray.search.pools import Candidates, Pool, PoolFile
from foleyray.selection import candidate_seed


@dataclass(frozen=True)
class PoolPlan:
    """The pool of one class: which point makes it, and where it lies. `scored`: with the vectors of the scorer."""

    label: int
    candidate: int
    params: Params
    scored: bool
    file: PoolFile

    def jobs(self, batch_size: int) -> "Iterator[PoolJob]":
        """What is missing, in pieces of whole batches."""
        missing, count = self.file.missing(), self.file.num_candidates
        size = batch_size // gcd(batch_size, count)
        for begin in range(0, len(missing), size):
            yield PoolJob(self.label, self.candidate, self.params, self.scored, tuple(missing[begin : begin + size]), count)


@dataclass(frozen=True)
class PoolJob:
    """All candidates of some requests."""

    label: int
    candidate: int
    params: Params
    scored: bool
    requests: tuple[int, ...]
    num_candidates: int

    @property
    def seeds(self) -> list[int]:
        return [candidate_seed(seed, number) for seed in self.requests for number in range(self.num_candidates)]

    def run(self, evaluator: Evaluator) -> Candidates:
        rate_hz = evaluator.sampler(self.candidate).clip.sample_rate_hz
        waves, heard, vectors = [], [], []
        for batch in evaluator.waves(self.label, self.candidate, self.params, self.seeds):
            waves.append(to_int16(batch.numpy()))
            heard.append(evaluator.hear(evaluator.embedder, batch, rate_hz))
            vectors += [evaluator.vectors(self.candidate, batch)] if self.scored else []
        known = np.concatenate(vectors) if self.scored else None
        likeness = None if known is None else evaluator.likeness(self.label, self.candidate, known)
        return Candidates(np.concatenate(waves), ClipEmbeddings.join(heard), known, likeness)


def make_pools(system: str, plans: Mapping[str, PoolPlan], benches: Benches, progress: Progress) -> dict[str, Pool]:
    """Class -> its pool. What is on disk is not made again."""
    jobs = [(plan, job) for plan in plans.values() for job in plan.jobs(benches.settings.batch_size)]
    total = sum(len(plan.file.seeds) * plan.file.num_candidates for plan in plans.values())
    left = sum(len(job.seeds) for _, job in jobs)
    with progress.begin(f"pools {system}", total, "clips", total - left) as task:
        for number, made in benches.work([job for _, job in jobs]):
            plan, job = jobs[number]
            plan.file.add(job.requests, job.seeds, made)
            task.advance(len(job.seeds))
    return {name: plan.file.read() for name, plan in plans.items()}
