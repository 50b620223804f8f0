"""One system of an ensemble as a deployment: requests of any class and seed gather into batches beside the event loop."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from ray import serve

from foleyray.ensemble import Ensemble
from foleyray.generation import EnsembleSampler, FieldError, Request, Sound

Answer = Sound | FieldError
"""A sound, or why its prompt cannot be made: a value, for an error would be everybody's in the batch."""


class Booth:
    """A sampler in a thread of its own, warmed up there: the event loop stays free, and one batch sounds at a time."""

    def __init__(self, sampler: EnsembleSampler, threads: int) -> None:
        self.sampler = sampler
        self._thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,))
        self._thread.submit(sampler.warm_up).result()

    async def sample(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer a request, in their order."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answers, requests)

    def _answers(self, requests: Sequence[Request]) -> list[Answer]:
        refusals = [self.sampler.refusal(request) for request in requests]
        fit = [request for request, refusal in zip(requests, refusals, strict=True) if refusal is None]
        sounds = iter(self.sampler.generate(fit))
        return [next(sounds) if refusal is None else refusal for refusal in refusals]


class Generator:
    """Healthy once its sampler is warm. Must be allowed at least as many ongoing requests as a batch holds."""

    def __init__(
        self,
        ensemble: Ensemble,
        folder: Path,
        system: str,
        *,
        device: str,
        max_batch: int,
        wait_seconds: float,
        threads: int,
        neighbours: int,
    ) -> None:
        # One core is left to the front door: threads of two processes that wait for one core wait for each other at every step.
        threads = threads or max(1, ((os.cpu_count() or 1) - 1) // neighbours)
        self.booth = Booth(EnsembleSampler.of(ensemble, folder, device, {system}, max_batch), threads)
        self.sample.set_max_batch_size(max_batch)
        self.sample.set_batch_wait_timeout_s(wait_seconds)

    @serve.batch
    async def sample(self, requests: list[Request]) -> list[Answer]:
        """Called with one request, answered with its sound or with what is wrong with it; Serve gathers the calls."""
        return await self.booth.sample(requests)
