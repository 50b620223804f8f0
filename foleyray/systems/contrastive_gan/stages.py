"""What is trained: encoder and vocoder where the config has chosen them, then generator and discriminator in turns."""

from collections.abc import Mapping
from math import cos, pi

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from foleyray.clips import ClassList
from foleyray.modules.vocoder_stage import vocoder_stages
from foleyray.stage import Batch, Losses, Stage, Step
from foleyray.systems.contrastive_gan import losses
from foleyray.systems.contrastive_gan.augment import Augmenter
from foleyray.systems.contrastive_gan.config import Config
from foleyray.systems.contrastive_gan.encoder import ResNetEncoder
from foleyray.systems.contrastive_gan.nets import Discriminator, Generator


def stages(config: Config, classes: ClassList) -> tuple[Stage, ...]:
    """In training order."""
    encoder = (EncoderStage(config),) if config.has_source else ()
    vocoder = vocoder_stages(config.vocoder, config.clip, config.mel)
    return (*encoder, *vocoder, GanStage(config, len(classes.names)))


def samples_from(config: Config) -> tuple[str, ...]:
    """The stages whose checkpoints make the sound."""
    return (*config.vocoder.stages, "gan")


class EncoderStage:
    """Supervised contrastive learning over two views of every clip, changed by fades and time masks."""

    name: str = "encoder"
    reads: tuple[str, ...] = ("mel", "label")
    needs: tuple[str, ...] = ()
    turns: Mapping[str, tuple[str, ...]] = {"encoder": ("encoder",)}
    repeats: Mapping[str, int] = {}
    averaged: tuple[str, ...] = ()

    def __init__(self, config: Config) -> None:
        self.config = config
        self.augmenter = Augmenter(config.mel, config.scale)

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        return nn.ModuleDict({"encoder": ResNetEncoder(self.config.encoder, self.config.discriminator.projection)})

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> Optimizer:
        return Adam(nets["encoder"].parameters(), self.config.encoder.learning_rate)

    def learning_rate(self, turn: str, step: Step) -> float:
        """A half cosine down to zero."""
        return 0.5 * (1 + cos(pi * step.index / step.total))

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        mel, settings = _scaled(batch, self.config), self.config.encoder
        views = torch.cat([self.augmenter.fade_and_mask(mel, settings, step.generator) for _ in range(2)])
        loss = losses.supervised_contrastive(nets["encoder"](views), batch["label"].repeat(2), settings.temperature)
        return {"loss": loss.mean()}

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return self.loss("encoder", nets, batch, step)


class GanStage:
    """Hinge loss and a conditional contrastive loss, on made mels for the generator and on real ones for the discriminator.

    The generator goes first: the mels it makes in its turn are what the discriminator then judges, so they are made once.
    """

    name: str = "gan"
    reads: tuple[str, ...] = ("mel", "label")
    turns: Mapping[str, tuple[str, ...]] = {"generator": ("generator",), "discriminator": ("discriminator",)}
    averaged: tuple[str, ...] = ("generator",)

    def __init__(self, config: Config, num_classes: int) -> None:
        self.config, self.num_classes = config, num_classes
        self.needs: tuple[str, ...] = ("encoder",) if config.has_source else ()
        self.repeats: Mapping[str, int] = {"discriminator": config.discriminator_repeats}
        self.augmenter = Augmenter(config.mel, config.scale)

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        nets = nn.ModuleDict(
            {
                "generator": build_generator(self.config, self.num_classes),
                "discriminator": Discriminator(self.config.discriminator, self.num_classes),
            }
        )
        if self.config.has_source:
            nets["encoder"] = needed["encoder"]["encoder"].eval().requires_grad_(False)
        return nets.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> Optimizer:
        rate = {"generator": self.config.generator_rate, "discriminator": self.config.discriminator_rate}[turn]
        return Adam(nets[turn].parameters(), rate, self.config.betas)

    def learning_rate(self, turn: str, step: Step) -> float:
        return 1.0

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return self._generator_loss(nets, batch, step) if turn == "generator" else self._discriminator_loss(nets, batch, step)

    def _generator_loss(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        unbounded = self._make_unbounded(nets["generator"], batch["label"], step.generator)
        made = torch.tanh(unbounded)
        step.memo["made"] = made.detach()
        seen = self.augmenter.shift_and_gain(made, self.config.augment, step.generator)
        # In evaluation mode the judge keeps the state of its spectral norm: only its own turn may change it.
        score, embedding = nets["discriminator"].eval()(seen, batch["label"])
        nets["discriminator"].train()
        adversarial = losses.hinge_generator(score)
        contrast = self._contrast(nets, embedding, seen, batch, is_real=False)
        excess = losses.excess(unbounded)
        return {
            "loss": adversarial + self.config.contrast_weight * contrast + self.config.excess_weight * excess,
            "adversarial": adversarial,
            "contrast": contrast,
            "excess": excess,
        }

    def _discriminator_loss(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        made = step.memo.pop("made", None)
        if made is None:
            with torch.no_grad():
                made = self._make(nets["generator"], batch["label"], step.generator)
        both = torch.cat([_scaled(batch, self.config), made.float()])
        both = self.augmenter.shift_and_gain(both, self.config.augment, step.generator)
        return self._judge(nets, both, batch)

    def _judge(self, nets: nn.ModuleDict, both: Tensor, batch: Batch) -> Losses:
        """Losses on mels (2 B, 1, bands, frames), the real ones before the made ones."""
        half = len(both) // 2
        score, embedding = nets["discriminator"](both, batch["label"].repeat(2))
        real, made = score.split(half)
        adversarial = losses.hinge_discriminator(real, made)
        contrast = self._contrast(nets, embedding[:half], both[:half], batch, is_real=True)
        return {
            "loss": adversarial + self.config.contrast_weight * contrast,
            "adversarial": adversarial,
            "contrast": contrast,
            "real_score": real.mean(),
            "made_score": made.mean(),
        }

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        """The discriminator's losses on clips it has not seen, and how much made clips of a class differ (real: 1)."""
        real, made = _scaled(batch, self.config), self._make(nets["generator"], batch["label"], step.generator)
        judged = self._judge(nets, torch.cat([real, made.float()]), batch)
        return judged | {"diversity": _spread(made, batch["label"]) / _spread(real, batch["label"]).clamp(min=1e-6)}

    def _make(self, generator: nn.Module, label: Tensor, draws: torch.Generator) -> Tensor:
        return torch.tanh(self._make_unbounded(generator, label, draws))

    def _make_unbounded(self, generator: nn.Module, label: Tensor, draws: torch.Generator) -> Tensor:
        assert isinstance(generator, Generator)
        latent = torch.randn(len(label), generator.num_latents, generator=draws, device=label.device)
        return generator.unbounded(latent, label)

    def _contrast(self, nets: nn.ModuleDict, embedding: Tensor, seen: Tensor, batch: Batch, is_real: bool) -> Tensor:
        label = batch["label"]
        return losses.contrastive(
            embedding,
            _discriminator(nets).proxies(label),
            label,
            self._source(nets, seen, batch, is_real) if self.config.has_source else None,
            oneself=self.config.contrast in ("o2c", "oc-supcon"),
            tau_d=self.config.tau_d,
            tau_c=self.config.tau_c,
        ).mean()

    def _source(self, nets: nn.ModuleDict, seen: Tensor, batch: Batch, is_real: bool) -> Tensor:
        """f(x) (B, projection): of the mel itself where it is real, else of what `source` names."""
        encoder, kind = nets["encoder"].eval(), self.config.source
        if not is_real and kind == "self_grad":
            return encoder(seen)
        with torch.no_grad():
            if is_real or kind == "self":
                return encoder(seen)
            real, label = encoder(_scaled(batch, self.config)), batch["label"]
            if kind == "paired":
                return real
            kin = (label[:, None] == label[None, :]).to(real.dtype)
            return nn.functional.normalize(kin @ real, dim=1)


def build_generator(config: Config, num_classes: int) -> Generator:
    """A fresh generator, laid out in memory as convolutions like it."""
    generator = Generator(config.generator, config.shape, num_classes)
    return generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _discriminator(nets: nn.ModuleDict) -> Discriminator:
    net = nets["discriminator"]
    assert isinstance(net, Discriminator)
    return net


def _scaled(batch: Batch, config: Config) -> Tensor:
    """mel (B, bands, frames) -> (B, 1, bands, frames) in [-1, 1]"""
    return config.scale.to_unit(batch["mel"]).unsqueeze(1)


def _spread(mel: Tensor, label: Tensor) -> Tensor:
    """Mean absolute difference between clips of the same class; 0 where no class occurs twice."""
    rows = mel.flatten(1)
    pairs = (label[:, None] == label[None, :]).triu(1)
    return torch.cdist(rows, rows, p=1)[pairs].sum() / rows.shape[1] / pairs.sum().clamp(min=1)
