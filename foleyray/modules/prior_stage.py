"""How a PixelSNAIL is trained: as the prior over the codes that a tokenizer made, given the class."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from foleyray.config import Config
from foleyray.modules.pixelsnail import PixelSNAIL, PixelSNAILSettings, Size
from foleyray.modules.public_pixelsnail import load_public
from foleyray.modules.schedules import Constant, Schedule
from foleyray.stage import Batch, Losses, Step


class PriorSettings(Config):
    """The network and its learning rate; the defaults are those of the DCASE 2023 Task 7 baseline."""

    network: PixelSNAILSettings = PixelSNAILSettings()
    start: Path | None = Field(None, description="weights as the baseline publishes them; None: random ones")
    learning_rate: float = Field(3e-4, gt=0)
    schedule: Schedule = Constant()


class PriorStage:
    """Cross-entropy in nats over all places of a grid; a uniform guess costs the logarithm of the number of words."""

    name: str = "prior"
    reads: tuple[str, ...] = ("codes", "label")
    needs: tuple[str, ...] = ("tokenizer",)
    """For the codes alone: the prior holds nothing of its nets."""
    turns: Mapping[str, tuple[str, ...]] = {"prior": ("prior",)}
    repeats: Mapping[str, int] = {}
    averaged: tuple[str, ...] = ("prior",)

    def __init__(self, settings: PriorSettings, grid: Size, words: int, num_classes: int) -> None:
        self.settings, self.grid, self.words, self.num_classes = settings, grid, words, num_classes

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        """Raises UserError where the weights to start from are not there or do not fit."""
        sizes = (self.settings.network, self.grid, self.words, self.num_classes)
        start = self.settings.start
        return nn.ModuleDict({"prior": load_public(start, *sizes) if start else PixelSNAIL(*sizes)})

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> Optimizer:
        return Adam(nets["prior"].parameters(), self.settings.learning_rate)

    def learning_rate(self, turn: str, step: Step) -> float:
        return self.settings.schedule.factor(step)

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return self._losses(nets, batch)

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return self._losses(nets, batch)

    def _losses(self, nets: nn.ModuleDict, batch: Batch) -> Losses:
        codes: Tensor = batch["codes"]
        assert codes.shape[1:] == self.grid, f"codes {tuple(codes.shape)} where a grid is {self.grid}"
        logits = nets["prior"](codes, batch["label"]).float()
        return {"loss": F.cross_entropy(logits, codes), "accuracy": (logits.argmax(1) == codes).float().mean()}
