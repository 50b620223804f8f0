"""Settings of the search, read from the key `search` of a system's YAML file, and the seeds that follow from them."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from foleyray.config import Config

Purpose = Literal["search", "promotion"]
MOST_CLIPS = 2**19


class SearchConfig(Config):
    """How much is tried, on how many clips, and on which machines. Budget and machines may change between two calls."""

    embedder: str = Field("logmel", description="name, or name:recipe, of the embedder whose distance is lowered")
    weights: Path | None = Field(None, description="folder of published embedder weights; None: where they usually lie")
    trials: int = Field(12, ge=1, description="trials per class; more than before goes on where the search ended")
    clips: int = Field(32, ge=2, le=MOST_CLIPS, description="clips per trial, the same number and seeds in all trials")
    rungs: int = Field(3, ge=1, le=10, description="scores per trial, each after twice the clips; losers stop early")
    checkpoints: int = Field(3, ge=1, description="newest checkpoints of every stage to choose from; never step 0")
    promote_clips: int = Field(64, ge=3, le=MOST_CLIPS, description="fresh clips per class on which a winner is measured again")
    seed: int = Field(0, ge=0, lt=2**40)
    batch_size: int = Field(16, ge=1, description="clips that are sampled and embedded together")
    concurrent: int = Field(2, ge=1, description="trials at a time; up to the number of classes the search is reproducible")
    cpus_per_trial: float = Field(1.0, gt=0)
    gpus_per_trial: float = Field(0.0, ge=0, description="0.25: four trials share a GPU")

    @model_validator(mode="after")
    def _has_clips_for_every_rung(self) -> Self:
        if self.clips >> (self.rungs - 1) < 2:
            raise ValueError(f"{self.rungs} rungs need at least {2**self.rungs} clips (2 on the first one), found {self.clips}")
        return self

    @property
    def rung_clips(self) -> tuple[int, ...]:
        """Clips after which a trial is scored, doubling: (8, 16, 32) for 32 clips and 3 rungs."""
        first = self.clips >> (self.rungs - 1)
        return (*(first << rung for rung in range(self.rungs - 1)), self.clips)

    def clip_seeds(self, purpose: Purpose) -> range:
        """One seed a clip: even ones for the search, odd ones for promotion, so that no promoted clip was ever searched on."""
        start = 2 * MOST_CLIPS * self.seed + ("search", "promotion").index(purpose)
        return range(start, start + 2 * (self.clips if purpose == "search" else self.promote_clips), 2)
