"""The ensemble sampler: the weights of an ensemble, or of one checkpoint, and requests sounded in batches."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import torch

from foleyray.clips import ClassList
from foleyray.ensemble import Ensemble
from foleyray.generation.opening import checkpoints_of, open_ensemble
from foleyray.generation.request import Request, Sound
from foleyray.generation.roster import Roster, Take
from foleyray.system import Sampler, load_sampler

MAX_BATCH = 16
"""Clips sampled at once where nothing else is asked for."""


class EnsembleSampler:
    """All members of an ensemble, or those of some systems in it, ready to sound: one sampler per set of checkpoints."""

    def __init__(self, roster: Roster, samplers: Mapping[tuple[str, ...], Sampler], max_batch: int = MAX_BATCH) -> None:
        self.roster, self.samplers, self.max_batch = roster, samplers, max_batch

    @classmethod
    def load(
        cls,
        path: Path | str,
        device: torch.device | str = "cpu",
        systems: set[str] | None = None,
        max_batch: int = MAX_BATCH,
    ) -> Self:
        """From an ensemble (its file or folder) or a bare checkpoint; raises UserError where a part is missing or foreign."""
        return cls.of(*open_ensemble(path), device, systems, max_batch)

    @classmethod
    def of(
        cls,
        ensemble: Ensemble,
        folder: Path,
        device: torch.device | str = "cpu",
        systems: set[str] | None = None,
        max_batch: int = MAX_BATCH,
    ) -> Self:
        """From an ensemble already read, with its checkpoints below `folder`; `systems`: leave the others' weights alone."""
        roster = Roster(ensemble)
        samplers = {
            combination: load_sampler(checkpoints, torch.device(device))
            for combination, checkpoints in checkpoints_of(roster, folder).items()
            if systems is None or combination[0] in systems
        }
        return cls(roster, samplers, max_batch)

    @property
    def classes(self) -> ClassList:
        return self.roster.ensemble.class_list

    def warm_up(self) -> None:
        """One full batch from every sampler, so that no request pays for what is only done once."""
        parts = {part.combination: (label, part) for label, parts in enumerate(self.roster.parts.values()) for part in parts}
        for combination, sampler in self.samplers.items():
            label, part = parts[combination]
            with torch.inference_mode():
                sampler.sample(torch.full((self.max_batch,), label), [part.params] * self.max_batch, range(self.max_batch))

    def generate(self, requests: Sequence[Request]) -> list[Sound]:
        """One sound a request, in their order; all are held in memory, see `batches` for more than fit."""
        sounds = dict(pair for batch in self.batches(requests) for pair in batch)
        return [sounds[position] for position in range(len(requests))]

    def batches(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Sound]]]:
        """The sounds as they are made, each with its position in `requests`; every request is checked before the first.

        A batch holds what one sampler can sound at once: the same checkpoints and the same batch-wide parameters.
        """
        groups: dict[tuple[object, ...], list[tuple[int, Request, Take]]] = {}
        for position, request in enumerate(requests):
            take = self.roster.take(request)
            key = (take.part.combination, take.params.batch_key())
            groups.setdefault(key, []).append((position, request, take))
        for group in groups.values():
            for begin in range(0, len(group), self.max_batch):
                yield self._sample(group[begin : begin + self.max_batch])

    def _sample(self, batch: Sequence[tuple[int, Request, Take]]) -> list[tuple[int, Sound]]:
        sampler = self.samplers[batch[0][2].part.combination]
        labels = torch.tensor([request.label for _, request, _ in batch])
        with torch.inference_mode():
            waves = sampler.sample(labels, [take.params for _, _, take in batch], [request.seed for _, request, _ in batch])
        assert waves.shape == (len(batch), self.roster.ensemble.clip.num_samples), f"{sampler} made {tuple(waves.shape)}"
        return [(position, Sound(wave.numpy(), take.recipe)) for (position, _, take), wave in zip(batch, waves, strict=True)]


def open_generator(path: Path | str, device: torch.device | str | None = None, max_batch: int = MAX_BATCH) -> EnsembleSampler:
    """Whatever can sound: ENSEMBLE or CHECKPOINT, on a GPU where there is one and no device is named."""
    return EnsembleSampler.load(path, device or ("cuda" if torch.cuda.is_available() else "cpu"), max_batch=max_batch)
