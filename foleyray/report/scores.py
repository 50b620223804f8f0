"""The scores of an ensemble with their anchors as data, `scores.json`. How they are measured stands in `anchors.py`."""

from pathlib import Path

import numpy as np

from foleyray.config import Config
from foleyray.files import write_whole
from foleyray.metrics.scores import ClassScore

SIDE = "held_out"
"""The split that everything is measured against; the sounds were chosen on another one."""


class Nearness(Config):
    """Median cosine distance from a clip's mean embedding to that of its nearest training clip of the same class."""

    generated: float
    held_out: float
    num_train_clips: int

    @property
    def ratio(self) -> float | None:
        """Near 1: as far from the training clips as fresh recordings are. Near 0: copies of them."""
        return self.generated / self.held_out if self.held_out > 0 else None


class ClassAnchors(Config):
    """One class: what its generated sounds scored, and what real clips, untrained nets and white noise score beside them.

    All against the same held-out clips. `untrained` is None where the run no longer holds its untrained nets.
    """

    generated: ClassScore
    real: ClassScore
    untrained: ClassScore | None
    noise: ClassScore
    nearest_train: Nearness

    @property
    def is_nearer_than_others(self) -> bool:
        """Whether the generated sounds are nearer to their own class than to the mean of the others."""
        others = self.generated.mean_other_fad
        return others is not None and self.generated.fad < others


class Anchors(Config):
    """All scores of one ensemble. Two of them compare only where embedder, recipe, weights and number of clips are equal."""

    embedder: str
    recipe: str
    weights_id: str
    note: str
    ensemble: str
    corpus: str
    split: str = SIDE
    num_clips: int
    seed: int
    classes: dict[str, ClassAnchors]

    @property
    def identity(self) -> tuple[str | int, ...]:
        """What decides every number here: measuring again on the same terms gives the same."""
        return (self.ensemble, self.corpus, self.embedder, self.recipe, self.weights_id, self.num_clips, self.seed)

    @property
    def num_nearer(self) -> int:
        return sum(row.is_nearer_than_others for row in self.classes.values())

    def mean(self, kind: str) -> float | None:
        """Unweighted mean FAD over the classes of `generated`, `real`, `untrained` or `noise`; None where one is missing."""
        found = [getattr(row, kind) for row in self.classes.values()]
        return None if None in found else float(np.mean([score.fad for score in found]))

    @property
    def mean_of_others(self) -> float | None:
        """The mean distance to other classes, over the classes; None where there is one class only."""
        means = [row.generated.mean_other_fad for row in self.classes.values()]
        return None if None in means else float(np.mean([mean for mean in means if mean is not None]))

    @property
    def mean_diversity(self) -> float | None:
        ratios = [row.generated.diversity_ratio for row in self.classes.values()]
        return None if None in ratios else float(np.mean([ratio for ratio in ratios if ratio is not None]))

    @property
    def warnings(self) -> list[str]:
        """What must be known of the generated sounds and of the clips they are measured against, a sentence each."""
        return [f"{name}: {warning}" for name, row in self.classes.items() for warning in row.generated.warnings]

    @classmethod
    def load(cls, file: Path) -> "Anchors":
        return cls.model_validate_json(file.read_text(encoding="utf-8"))

    def save(self, file: Path) -> None:
        write_whole(file, self.model_dump_json(indent=1))
