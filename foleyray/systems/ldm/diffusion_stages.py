"""How the denoiser is trained: first on every clip with its own sound as the condition, then on classes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from foleyray.clips import ClassList
from foleyray.config import Config as Settings
from foleyray.config import UserError
from foleyray.modules.clap import clap_net, text_vectors
from foleyray.modules.prompts import sentences
from foleyray.stage import Batch, Losses, Step
from foleyray.systems.ldm.conditions import LabelCondition, Nothing, TextCondition, forget_some
from foleyray.systems.ldm.config import Config, Rate
from foleyray.systems.ldm.denoiser import Denoiser, DenoiserSettings
from foleyray.systems.ldm.diffusion import SCHEDULE, Noising
from foleyray.systems.ldm.tuning import TuningLayer


class DiffusionStage(ABC):
    """Squared error of the noise in the latents of `vae`; some conditions of a batch are forgotten, none in validation."""

    name: str
    repeats: Mapping[str, int] = {}
    turns: Mapping[str, tuple[str, ...]]

    def __init__(self, config: Config, rate: Rate) -> None:
        self.config, self.rate = config, rate
        self.channels = config.vae.latent_channels
        self.noising = Noising()

    @property
    def averaged(self) -> tuple[str, ...]:
        return self.turns[self.name]

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> Optimizer:
        parameters = [parameter for name in self.turns[turn] for parameter in nets[name].parameters()]
        return Adam(parameters, self.rate.learning_rate)

    def learning_rate(self, turn: str, step: Step) -> float:
        return self.rate.schedule.factor(step)

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        condition, unconditional = self.conditions(nets, batch)
        if nets["denoiser"].training:
            condition = forget_some(condition, unconditional, self.config.unconditional, step.generator)
        return {"loss": self.noising.training_error(nets["denoiser"], batch["latents"], condition, step.generator)}

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        condition, _ = self.conditions(nets, batch)
        return {"loss": self.noising.checked_error(nets["denoiser"], batch["latents"], condition, step.generator)}

    @abstractmethod
    def conditions(self, nets: nn.ModuleDict, batch: Batch) -> tuple[Tensor, Tensor]:
        """Conditions (B, D) of a batch, and that of nothing (D,)."""

    def begun(self) -> Denoiser:
        """A denoiser with published weights where the config names some, else with random ones."""
        denoiser, start = Denoiser(self.config.denoiser, self.channels), self.config.start
        if start:
            from foleyray.systems.ldm.public_audioldm import check_schedule, load_denoiser  # transformers takes seconds

            check_schedule(start, SCHEDULE)
            load_denoiser(start, denoiser.net)
        return denoiser

    def vectors(self, needed: Mapping[str, nn.ModuleDict], texts: Sequence[str]) -> Tensor:
        """Texts by clap (N, D); raises UserError where those are not what the denoiser takes or was published with."""
        found, wanted = clap_net(needed["clap"]).dim, self.config.denoiser.condition_width
        if found != wanted:
            raise UserError(
                f"the vectors of clap have {found} numbers, the denoiser takes {wanted}; set denoiser.condition_width={found}"
            )
        vectors = text_vectors(needed["clap"], texts)
        if self.config.start:
            from foleyray.systems.ldm.public_audioldm import check_text

            check_text(self.config.start, texts, vectors)
        return vectors


class PretrainIdentity(Settings):
    """All that a denoiser which knows no class follows from, apart from the stages it needs."""

    denoiser: DenoiserSettings
    channels: int
    unconditional: float
    pretraining: Rate
    start: str | None


class PretrainStage(DiffusionStage):
    """The condition is the vector of the clip's own sound: no class and no text is asked for."""

    name: str = "ldm_pretrain"
    reads: tuple[str, ...] = ("latents", "clap")
    needs: tuple[str, ...] = ("clap", "vae")
    turns: Mapping[str, tuple[str, ...]] = {"ldm_pretrain": ("denoiser",)}

    def __init__(self, config: Config) -> None:
        super().__init__(config, config.pretraining)
        self.identity = PretrainIdentity(
            denoiser=config.denoiser,
            channels=self.channels,
            unconditional=config.unconditional,
            pretraining=config.pretraining,
            start=config.start,
        )

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        (nothing,) = self.vectors(needed, [""])
        return nn.ModuleDict({"denoiser": self.begun(), "nothing": Nothing(nothing)})

    def conditions(self, nets: nn.ModuleDict, batch: Batch) -> tuple[Tensor, Tensor]:
        nothing = nets["nothing"]
        assert isinstance(nothing, Nothing)
        return batch["clap"], nothing.unconditional


class FinetuneStage(DiffusionStage):
    """The condition is that of the clip's class, and is trained along where it can be."""

    name: str = "ldm_finetune"
    reads: tuple[str, ...] = ("latents", "label")

    def __init__(self, config: Config, classes: ClassList) -> None:
        super().__init__(config, config.finetuning)
        self.num_classes = len(classes.names)
        self.sentences = tuple(sentences(config.clap.prompts, classes).values())
        self.needs: tuple[str, ...] = (
            "vae",
            *(("clap",) if config.condition != "label" else ()),
            *(("ldm_pretrain",) if config.pretrained else ()),
        )
        trained = ("denoiser",) if config.condition == "text" else ("denoiser", "condition")
        self.turns: Mapping[str, tuple[str, ...]] = {"ldm_finetune": trained}

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        denoiser = self._pretrained(needed) if self.config.pretrained else self.begun()
        if self.config.condition == "label":
            return nn.ModuleDict({"denoiser": denoiser, "condition": self._of_labels()})
        *told, nothing = self.vectors(needed, [*self.sentences, ""])
        return nn.ModuleDict({"denoiser": denoiser, "condition": self._of_texts(torch.stack(told), nothing)})

    def _pretrained(self, needed: Mapping[str, nn.ModuleDict]) -> nn.Module:
        """With the averaged weights that a run keeps of it."""
        return deepcopy(needed["ldm_pretrain"]["denoiser"]).requires_grad_(True).train()

    def blank(self) -> nn.ModuleDict:
        """Nets of the same shape without the stages before, for a checkpoint to be loaded."""
        width = self.config.denoiser.condition_width
        texts = torch.zeros(self.num_classes, width), torch.zeros(width)
        condition = self._of_labels() if self.config.condition == "label" else self._of_texts(*texts)
        return nn.ModuleDict({"denoiser": Denoiser(self.config.denoiser, self.channels), "condition": condition})

    def _of_labels(self) -> LabelCondition:
        return LabelCondition(self.num_classes, self.config.denoiser.condition_width)

    def _of_texts(self, told: Tensor, nothing: Tensor) -> TextCondition:
        is_tuned = self.config.condition == "tuned"
        return TextCondition(
            told, nothing, TuningLayer(self.config.tuning, told.shape[1], self.num_classes) if is_tuned else None
        )

    def conditions(self, nets: nn.ModuleDict, batch: Batch) -> tuple[Tensor, Tensor]:
        condition = nets["condition"]
        assert isinstance(condition, LabelCondition | TextCondition)
        return condition(batch["label"]), condition.unconditional
