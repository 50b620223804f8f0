"""Sounds that are made several times: the candidates of a request on its way, what they are scored against, and the best."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foleyray.config import UserError
from foleyray.generation.request import Sound
from foleyray.generation.roster import Take
from foleyray.selection import Picking
from foleyray.system import Prompted, Sampler

if TYPE_CHECKING:  # a published CLAP brings seconds of imports, which only a selection needs
    from foleyray.modules.clap import Clap

REMEMBERED = 1024
"""Texts whose vectors are kept."""


class Attempt:
    """A request on its way to its sound: the candidates it wants next, and the best wave so far."""

    def __init__(self, position: int, take: Take) -> None:
        self.position, self.take = position, take
        selection = take.recipe.selection
        self.picking = Picking(selection, take.recipe.seed) if selection else None
        self.wave: Tensor | None = None

    @property
    def wanted(self) -> range:
        """Numbers of the candidates of the next round, the one of a request without selection included; empty at the end."""
        if self.picking:
            return self.picking.wanted
        return range(1 if self.wave is None else 0)

    def hear(self, waves: Sequence[Tensor], scores: Sequence[float]) -> None:
        """The candidates that were wanted, each (T,), and their scores; all but the best are forgotten."""
        if self.picking is None:
            [self.wave] = waves
            return
        first = self.wanted.start
        self.picking.hear(scores)
        assert self.picking.pick
        if self.picking.pick.candidate >= first:
            self.wave = waves[self.picking.pick.candidate - first].clone()

    @property
    def sound(self) -> Sound:
        assert self.wave is not None and not self.wanted
        return Sound(self.wave.numpy(), self.take.recipe, self.picking.pick if self.picking else None)


class Scoring:
    """Likeness of candidates to their targets, by the scorers and banks of an ensemble, each under the path it has there."""

    def __init__(
        self,
        classes: Sequence[str],
        samplers: Mapping[tuple[str, ...], Sampler],
        scorers: Mapping[str, "Clap"],
        banks: Mapping[str, Tensor],
    ) -> None:
        self.classes, self.samplers, self.scorers, self.banks = classes, samplers, scorers, banks
        self._of_text = lru_cache(REMEMBERED)(self._text)

    def scores(self, attempts: Sequence[Attempt], waves: Tensor) -> list[float]:
        """waves (B, T), one for each of the attempts -> cosines of those that pick, not a number for the others."""
        found = [float("nan")] * len(attempts)
        for path, scorer in self.scorers.items():
            rows = [row for row, attempt in enumerate(attempts) if scorer_of(attempt.take) == path]
            if rows:
                rate_hz = attempts[rows[0]].take.recipe.clip.sample_rate_hz
                for row, vector in zip(rows, scorer.embed_audio(waves[rows], rate_hz), strict=True):
                    found[row] = _cosine(vector, self._target(attempts[row]))
        return found

    def text(self, take: Take) -> Tensor:
        """What the sound's words mean, those of its class without a prompt: (D,). Raises UserError where no word is known.

        Every text is embedded alone, so what else is asked for changes no bit of it.
        """
        return self._of_text(take.part.combination, take.label, take.recipe.prompt, scorer_of(take))

    def check(self, take: Take) -> None:
        """Raises UserError where the targets of a take and its scorer are vectors of different lengths."""
        selection = take.recipe.selection
        if selection is None:
            return
        dim = self.scorers[selection.scorer].dim
        name = f"bank '{selection.bank.vectors}'" if selection.bank else take.part.system.name
        found = self.banks[selection.bank.vectors].shape[1] if selection.bank else len(self.text(take))
        if found != dim:
            raise UserError(
                f"{name} has targets of {found} values, the scorer '{selection.scorer}' vectors of {dim}; "
                "promote the ensemble again"
            )

    def _target(self, attempt: Attempt) -> Tensor:
        assert attempt.picking
        bank = attempt.picking.selection.bank
        return self.banks[bank.vectors][attempt.picking.target] if bank else self.text(attempt.take)

    def _text(self, combination: tuple[str, ...], label: int, prompt: str | None, scorer: str | None) -> Tensor:
        sampler = self.samplers[combination]
        if isinstance(sampler, Prompted):
            return sampler.targets(torch.tensor([label]), [prompt])[0]
        assert scorer and prompt is None
        return self.scorers[scorer].embed_text([self.scorers[scorer].prompts[self.classes[label]]])[0]


def scorer_of(take: Take) -> str | None:
    """The path of what scores a take's candidates; None without a selection."""
    return take.recipe.selection.scorer if take.recipe.selection else None


def _cosine(one: Tensor, other: Tensor) -> float:
    """Of unit vectors; one pair at a time in double precision, so that company changes no bit."""
    return float((one.double() @ other.double()).clamp(-1.0, 1.0))
