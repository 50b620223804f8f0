"""The ensemble sampler: the weights of an ensemble, or of one checkpoint, and requests sounded in batches."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from foleyray.checkpoint import Checkpoint
from foleyray.clips import ClassList
from foleyray.config import UserError
from foleyray.ensemble import Ensemble
from foleyray.generation.opening import contents_of, open_ensemble
from foleyray.generation.request import FieldError, Request, Sound
from foleyray.generation.roster import Roster, Take
from foleyray.generation.selecting import Attempt, Scoring, scorer_of
from foleyray.selection import candidate_seed
from foleyray.system import Prompted, Sampler, load_sampler

if TYPE_CHECKING:  # a published CLAP brings seconds of imports, which only a selection needs
    from foleyray.modules.clap import Clap

MAX_BATCH = 16
"""Clips sampled at once where nothing else is asked for."""


class EnsembleSampler:
    """All members of an ensemble, or those of some systems in it, ready to sound: one sampler per set of checkpoints."""

    def __init__(
        self,
        roster: Roster,
        samplers: Mapping[tuple[str, ...], Sampler],
        max_batch: int = MAX_BATCH,
        scorers: Mapping[str, "Clap"] | None = None,
        banks: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.roster, self.samplers, self.max_batch = roster, samplers, max_batch
        self.scoring = Scoring(roster.ensemble.class_list.names, samplers, scorers or {}, banks or {})
        self._owns = [take for take in roster.owns() if take.part.combination in samplers]
        for take in self._owns:
            self.scoring.check(take)

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
        """From an ensemble already read, with its checkpoints below `folder`; `systems`: leave the others' weights alone.

        A scorer is opened once, however many members it scores.
        """
        roster, device = Roster(ensemble), torch.device(device)
        contents = contents_of(roster, folder)
        kept = [part for parts in roster.parts.values() for part in parts if systems is None or part.system.name in systems]
        scorers = {part.member.selection.scorer for part in kept if part.member.selection}
        return cls(
            roster,
            {key: load_sampler(contents.checkpoints[key], device) for key in dict.fromkeys(part.combination for part in kept)},
            max_batch,
            {path: _opened(contents.scorers[path], device) for path in sorted(scorers)},
            contents.banks,
        )

    @property
    def classes(self) -> ClassList:
        return self.roster.ensemble.class_list

    def warm_up(self) -> None:
        """One full batch from every sampler, heard by its scorers, so that no request pays for what is only done once."""
        kinds = {(take.part.combination, scorer_of(take)): take for take in self._owns}
        scored = {combination for combination, scorer in kinds if scorer}
        for (combination, scorer), take in kinds.items():
            if scorer or combination not in scored:
                self._sample([(Attempt(0, take), 0)] * self.max_batch)

    def refusal(self, request: Request) -> FieldError | None:
        """What is wrong with a request that only the weights can tell: a prompt of which no word is known."""
        return self._refusal(self.roster.take(request))

    def generate(self, requests: Sequence[Request]) -> list[Sound]:
        """One sound a request, in their order; all are held in memory, see `batches` for more than fit."""
        sounds = dict(pair for batch in self.batches(requests) for pair in batch)
        return [sounds[position] for position in range(len(requests))]

    def batches(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Sound]]]:
        """The sounds as they are made, each with its position in `requests`; every request is checked before the first.

        A batch holds what one sampler can sound at once: the same checkpoints and the same batch-wide parameters.
        """
        groups: dict[tuple[object, ...], list[Attempt]] = {}
        for position, request in enumerate(requests):
            take = self.roster.take(request)
            if refusal := self._refusal(take):
                raise refusal
            groups.setdefault((take.part.combination, take.params.batch_key()), []).append(Attempt(position, take))
        for group in groups.values():
            yield from self._sounds(group)

    def _refusal(self, take: Take) -> FieldError | None:
        if take.recipe.prompt is not None:
            try:
                self.scoring.text(take)
            except UserError as error:
                return FieldError("prompt", str(error), "words that the text model knows")
        return None

    def _sounds(self, group: Sequence[Attempt]) -> Iterator[list[tuple[int, Sound]]]:
        """Rounds of as many requests as want a batch of candidates; whose sound stands makes room for the next in line."""
        waiting, begun = deque(group), list[Attempt]()
        while waiting or begun:
            wanted = sum(len(attempt.wanted) for attempt in begun)
            while waiting and (not begun or wanted + len(waiting[0].wanted) <= self.max_batch):
                begun.append(waiting.popleft())
                wanted += len(begun[-1].wanted)
            self._round(begun)
            if done := [attempt for attempt in begun if not attempt.wanted]:
                yield [(attempt.position, attempt.sound) for attempt in done]
            begun = [attempt for attempt in begun if attempt.wanted]

    def _round(self, attempts: Sequence[Attempt]) -> None:
        jobs = [(attempt, number) for attempt in attempts for number in attempt.wanted]
        made: list[tuple[Tensor, float]] = []
        for begin in range(0, len(jobs), self.max_batch):
            made += self._sample(jobs[begin : begin + self.max_batch])
        results = iter(made)
        for attempt in attempts:
            waves, scores = zip(*islice(results, len(attempt.wanted)), strict=True)
            attempt.hear(waves, scores)

    def _sample(self, jobs: Sequence[tuple[Attempt, int]]) -> list[tuple[Tensor, float]]:
        """Candidates (an attempt and a number) of one sampler -> the wave (T,) and the score of each."""
        takes = [attempt.take for attempt, _ in jobs]
        sampler, params = self.samplers[takes[0].part.combination], [take.params for take in takes]
        labels = torch.tensor([take.label for take in takes])
        seeds = [candidate_seed(attempt.take.recipe.seed, number) for attempt, number in jobs]
        prompts = [take.recipe.prompt for take in takes]
        with torch.inference_mode():
            if any(prompts):
                assert isinstance(sampler, Prompted)
                waves = sampler.sample(labels, params, seeds, prompts)
            else:
                waves = sampler.sample(labels, params, seeds)
            assert waves.shape == (len(jobs), self.roster.ensemble.clip.num_samples), f"{sampler} made {tuple(waves.shape)}"
            return list(zip(waves, self.scoring.scores([attempt for attempt, _ in jobs], waves), strict=True))


def _opened(scorer: Checkpoint, device: torch.device) -> "Clap":
    from foleyray.modules.clap import open_clap

    return open_clap(scorer, device)


def open_generator(path: Path | str, device: torch.device | str | None = None, max_batch: int = MAX_BATCH) -> EnsembleSampler:
    """Whatever can sound: ENSEMBLE or CHECKPOINT, on a GPU where there is one and no device is named."""
    return EnsembleSampler.load(path, device or ("cuda" if torch.cuda.is_available() else "cpu"), max_batch=max_batch)
