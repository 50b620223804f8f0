"""A small system of two stages: one whose nets make a column of codes, which any system may share, and one that reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from foleyray.clips import ClassList
from foleyray.config import Config
from foleyray.sampling import SamplingParams
from foleyray.stage import Batch, Losses, Stage, Step
from foleyray.system import System, SystemConfig
from tests.train.toy import BANDS, CLIP, MEL, sampler


class CoderSettings(Config):
    scale: float = 4.0


class CodesConfig(SystemConfig):
    system: Literal["codes"] = "codes"
    coder: CoderSettings = CoderSettings()
    width: int = 4


@dataclass(frozen=True)
class Plain:
    repeats: Mapping[str, int] = field(default_factory=dict)
    averaged: tuple[str, ...] = ()

    def learning_rate(self, turn: str, step: Step) -> float:
        return 1.0

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> torch.optim.Optimizer:
        return torch.optim.Adam(nets[turn].parameters(), lr=0.05)

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return self.loss("", nets, batch, step)


@dataclass(frozen=True)
class Coder(Plain):
    """Learns one gain a band; its codes are the scaled mean of each band, rounded."""

    identity: CoderSettings = field(default_factory=CoderSettings)
    name: str = "coder"
    reads: tuple[str, ...] = ("mel",)
    needs: tuple[str, ...] = ()
    turns: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"gain": ("gain",)})
    makes: str = "codes"

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        return nn.ModuleDict({"gain": nn.Conv1d(BANDS, BANDS, 1, groups=BANDS)})

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return {"loss": (nets["gain"](batch["mel"]) - self.identity.scale * batch["mel"]).square().mean()}

    def encode(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        assert not nets["gain"].training
        return nets["gain"](batch["mel"]).mean(dim=2, keepdim=True).round().clamp(-8, 7).to(torch.int16)


@dataclass(frozen=True)
class Reader(Plain):
    """Tells the class from the codes."""

    config: CodesConfig = field(default_factory=lambda: CodesConfig(training={}))
    name: str = "reader"
    reads: tuple[str, ...] = ("codes", "label")
    needs: tuple[str, ...] = ("coder",)
    turns: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"net": ("net",)})

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        table = nn.EmbeddingBag(16, self.config.width, mode="sum")
        return nn.ModuleDict({"net": nn.Sequential(table, nn.Linear(self.config.width, 2))})

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        assert batch["codes"].dtype == torch.int64
        places = batch["codes"].flatten(1)[:, :1] + 8
        return {"loss": nn.functional.cross_entropy(nets["net"](places), batch["label"])}


def stages(config: CodesConfig, classes: ClassList) -> tuple[Stage, ...]:
    return Coder(identity=config.coder), Reader(config=config)


SYSTEM = System("codes", CodesConfig, SamplingParams, stages, sampler, lambda config: ("coder", "reader"))


def config(*, width: int = 4, steps: int = 20, coder_steps: int = 20, scale: float = 4.0) -> CodesConfig:
    training: dict[str, Any] = {"batch_size": 8, "checkpoint_every": 10}
    both = {"coder": training | {"steps": coder_steps}, "reader": training | {"steps": steps}}
    return CodesConfig(training=both, width=width, coder=CoderSettings(scale=scale), clip=CLIP, mel=MEL)
