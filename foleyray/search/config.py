"""Settings of the search, read from the key `search` of a system's YAML file, and the seeds that follow from them."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from foleyray.config import Config
from foleyray.ensemble import Protocol

Purpose = Literal["search", "promotion"]
Target = Literal["text", "bank"]
Split = Literal["reference", "held_out"]
Value = float | int | str
"""Of a sampling parameter."""
MOST_CLIPS = 2**19
MOST_CANDIDATES = 64
"""Of a selection, in a round and as rounds."""


class ChoosingConfig(Config):
    """Selection tried on pools of sounds that are made once: which target, how many candidates a round, which threshold."""

    requests: int = Field(40, ge=2, le=MOST_CLIPS, description="sounds by which an option is judged, the same ones for all")
    candidates: int = Field(10, ge=1, le=MOST_CANDIDATES, description="sounds made for each request: no option needs more")
    thresholds: int = Field(100, ge=1, description="thresholds tried: quantiles of the pool's scores")
    counts: tuple[int, ...] = Field((1, 2, 3, 5), min_length=1, description="numbers of candidates a round that are tried")
    targets: tuple[Target, ...] = Field(("text",), min_length=1, description="text: the class's sentence; bank: training clips")
    bank_size: int = Field(100, ge=1, description="training clips in a bank: those nearest to the centre of their class")
    bank_order: Literal["walk", "random"] = "walk"
    least_diversity: float = Field(0.8, ge=0, description="share of the unselected sounds' diversity that has to be left")

    @model_validator(mode="after")
    def _fits_the_pool(self) -> Self:
        if bad := [count for count in self.counts if not 1 <= count <= self.candidates]:
            raise ValueError(f"counts must lie between 1 and the {self.candidates} candidates of a request, found {bad}")
        return self


class MixingConfig(Config):
    """Shares of several systems in a class, found from the embeddings of their sounds alone."""

    steps: int = Field(8, ge=2, le=20, description="8: shares in eighths")


class SearchConfig(Config):
    """How much is tried, on how many clips, and on which machines. Budget and machines may change between two calls."""

    embedder: str = Field("logmel", description="name, or name:recipe, of the embedder whose distance is lowered")
    weights: Path | None = Field(None, description="folder of published embedder weights; None: where they usually lie")
    trials: int = Field(24, ge=1, description="trials per class; more than before goes on where the search ended")
    max_clips: int | None = Field(None, ge=1, description="clips after which no trial of the system begins; None: no limit")
    max_minutes: float | None = Field(None, gt=0, description="the same in minutes, those of all its trials added up")
    starts: dict[str, tuple[dict[str, Value], ...]] = Field(
        {}, description="points to begin with, by class or for `all`, after the system's own start"
    )
    grid: tuple[dict[str, Annotated[tuple[Value, ...], Field(min_length=1)]], ...] = Field(
        (), description="sampling parameter -> values: all of them are tried at every checkpoint, and nothing else"
    )
    clips: int = Field(32, ge=2, le=MOST_CLIPS, description="clips per trial, the same number and seeds in all trials")
    rungs: int = Field(3, ge=1, le=10, description="scores per trial, each after twice the clips; losers stop early")
    checkpoints: int | None = Field(
        3, ge=1, description="newest checkpoints of every stage to choose from, None: all; never step 0"
    )
    promote_clips: int = Field(64, ge=3, le=MOST_CLIPS, description="fresh clips per class on which a winner is measured again")
    seed: int = Field(0, ge=0, lt=2**40)
    batch_size: int = Field(16, ge=1, description="clips that are sampled and embedded together")
    concurrent: int = Field(2, ge=1, description="trials at a time; up to the number of classes the search is reproducible")
    cpus_per_trial: float = Field(1.0, gt=0)
    gpus_per_trial: float = Field(0.0, ge=0, description="0.25: four trials share a GPU")
    choosing: ChoosingConfig | None = Field(None, description="None: every sound is given as it is made")
    mixing: MixingConfig | None = Field(None, description="None: one system makes a class")
    protocol: Protocol = Field("clean_selection", description="paper_selection: chosen on the evaluation clips, as in papers")

    @model_validator(mode="after")
    def _has_clips_for_every_rung(self) -> Self:
        if not self.grid and self.clips >> (self.rungs - 1) < 2:
            raise ValueError(f"{self.rungs} rungs need at least {2**self.rungs} clips (2 on the first one), found {self.clips}")
        return self

    @model_validator(mode="after")
    def _begins_in_one_way(self) -> Self:
        if self.grid and self.starts:
            raise ValueError("a grid names all points that are tried, so starts add nothing; remove one of the two")
        return self

    @property
    def rung_clips(self) -> tuple[int, ...]:
        """Clips after which a trial is scored, doubling: (8, 16, 32) for 32 clips and 3 rungs; of a grid all are made."""
        if self.grid:
            return (self.clips,)
        first = self.clips >> (self.rungs - 1)
        return (*(first << rung for rung in range(self.rungs - 1)), self.clips)

    @property
    def split(self) -> Split:
        """The clips that the search chooses by."""
        return "reference" if self.protocol == "clean_selection" else "held_out"

    @property
    def pool(self) -> tuple[int, int]:
        """Requests, and the candidates made for each, of which the sounds of a system's best trial are chosen."""
        return (self.choosing.requests, self.choosing.candidates) if self.choosing else (self.clips, 1)

    @property
    def num_judged(self) -> int:
        """Clips that the distance of a winner stands on."""
        return self.pool[0] if self.choosing or self.mixing else self.clips

    def clip_seeds(self, purpose: Purpose) -> range:
        """One seed a clip: even ones for the search, odd ones for promotion, so that no promoted clip was ever searched on."""
        return self._seeds(purpose, self.clips if purpose == "search" else self.promote_clips)

    def request_seeds(self) -> range:
        """Of the requests by which selections are judged: the search's own."""
        return self._seeds("search", self.pool[0])

    def _seeds(self, purpose: Purpose, count: int) -> range:
        start = 2 * MOST_CLIPS * self.seed + ("search", "promotion").index(purpose)
        return range(start, start + 2 * count, 2)
