"""Selection: a sound is made several times and the candidate nearest to a target is kept. The words and the rule alone.

What scores is elsewhere: the rule sees numbers. Search feeds it the scores of cached pools, serving those of sounds that were
just made, so what was measured is what is served.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from foleyray.config import Config, RelativePath

CEILING = 0.99
"""A likeness above this is refused too: the target itself came back."""
WORST = -1.0
"""Of a cosine; counts where a candidate has no score that is a number."""


class Bank(Config):
    """Vectors of real training clips as targets, one a round, in the place of the text's (multi-target selection)."""

    vectors: RelativePath = Field(description="safetensors with `vectors` float32 (N, D) of unit length")
    size: int = Field(ge=1, description="N")
    order: Literal["walk", "random"] = Field("walk", description="walk: the next one each round; random: any of them")
    relax: float = Field(0.05, ge=0, le=1, description="by which the threshold falls after `relax_after` rounds in vain")
    relax_after: int = Field(3, ge=1)


class Selection(Config):
    """How the sounds of a class are chosen: best of `candidates` a round, drawn again until one is good enough."""

    scorer: RelativePath = Field(description="checkpoint of the stage `clap` whose likeness decides")
    candidates: int = Field(3, ge=1, le=64, description="sounds made in a round, of which the best is considered")
    threshold: float = Field(WORST, ge=WORST, le=CEILING, description="likeness below which another round is made")
    max_rounds: int = Field(4, ge=1, le=64, description="rounds after which the best so far is given in any case")
    bank: Bank | None = Field(None, description="None: the target is the text of the class, or that of the request")


@dataclass(frozen=True)
class Pick:
    """What a selection came to. `accepted`: its likeness reached the threshold; otherwise it is the best that was made."""

    candidate: int
    score: float
    rounds: int
    made: int
    accepted: bool


def candidate_seed(seed: int, candidate: int) -> int:
    """The seed of a request's candidate, 63 bits; the first candidate is the sound without selection."""
    if not candidate:
        return seed
    return int.from_bytes(hashlib.sha256(f"candidate/{seed}/{candidate}".encode()).digest()[:8], "big") >> 1


class Picking:
    """One request on its way: tells which candidates it wants and against which target, and hears their scores."""

    def __init__(self, selection: Selection, seed: int) -> None:
        self.selection, self.seed = selection, seed
        self.pick: Pick | None = None
        """None until a round was heard."""
        self._rounds = 0

    @property
    def wanted(self) -> range:
        """Numbers of the candidates of the next round; empty once the pick stands."""
        count = self.selection.candidates
        done = self._rounds == self.selection.max_rounds or (self.pick is not None and self.pick.accepted)
        return range(0) if done else range(self._rounds * count, (self._rounds + 1) * count)

    @property
    def target(self) -> int:
        """The row of the bank against which the next round is scored; 0 where the target is a text."""
        bank = self.selection.bank
        if bank is None:
            return 0
        place = f"target/{self.seed}" if bank.order == "walk" else f"target/{self.seed}/{self._rounds}"
        start = int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big")
        return (start + (self._rounds if bank.order == "walk" else 0)) % bank.size

    @property
    def threshold(self) -> float:
        """Of the next round."""
        bank = self.selection.bank
        return self.selection.threshold - (bank.relax * (self._rounds // bank.relax_after) if bank else 0.0)

    def hear(self, scores: Sequence[float]) -> None:
        """The likenesses of the candidates that were wanted, in their order."""
        wanted, threshold = self.wanted, self.threshold
        assert len(scores) == len(wanted) > 0
        self._rounds += 1
        usable = [math.isfinite(score) and score <= CEILING for score in scores]
        # Of two opposite vectors the cosine may lie a rounding below the worst.
        allowed = [max(score, WORST) if use else WORST for score, use in zip(scores, usable, strict=True)]
        best = max(range(len(allowed)), key=lambda index: (allowed[index], usable[index]))
        accepted = usable[best] and allowed[best] >= threshold
        if accepted or self.pick is None or allowed[best] > self.pick.score:
            candidate, score = wanted[best], allowed[best]
        else:
            candidate, score = self.pick.candidate, self.pick.score
        self.pick = Pick(candidate, score, self._rounds, self._rounds * self.selection.candidates, accepted)
