"""How the tokenizer is trained, and the codes that a trained one makes for the stages after it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from foleyray.clips import ClipSpec, MelSpec
from foleyray.modules.tokenizer import Reading, Tokenizer, TokenizerSettings
from foleyray.modules.vq import usage
from foleyray.stage import Batch, Losses, Step


class TokenizerStage:
    """Squared error of the log-mel, commitment, and the class where there is a head for it.

    The codebook takes one update a batch. Its averages are its own: averaged weights would not fit its words.
    """

    name: str = "tokenizer"
    needs: tuple[str, ...] = ()
    turns: Mapping[str, tuple[str, ...]] = {"tokenizer": ("tokenizer",)}
    repeats: Mapping[str, int] = {}
    averaged: tuple[str, ...] = ()
    makes: str = "codes"

    def __init__(self, settings: TokenizerSettings, mel: MelSpec, clip: ClipSpec, num_classes: int) -> None:
        """Raises UserError where the mel of a clip cannot be halved into a grid, or does not fit into the scale."""
        settings.grid(mel.bands, mel.frames(clip.num_samples))
        if settings.scale:
            settings.scale.check(mel)
        self.settings, self.identity, self.num_classes = settings, settings, num_classes
        self.reads: tuple[str, ...] = ("mel", "label") if settings.class_weight else ("mel",)

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        tokenizer = Tokenizer(self.settings, self.num_classes)
        return nn.ModuleDict({"tokenizer": tokenizer}).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> Optimizer:
        return Adam(nets["tokenizer"].parameters(), self.settings.learning_rate)

    def learning_rate(self, turn: str, step: Step) -> float:
        return self.settings.schedule.factor(step)

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        net = _tokenizer(nets)
        reading = net(batch["mel"])
        net.texture.learn(batch["mel"] - reading.mel, reading.quantised.codes)
        net.quantiser.learn(reading.latents, reading.quantised.codes, step.generator)
        return self._losses(reading, batch)

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return self._losses(_tokenizer(nets)(batch["mel"]), batch)

    def encode(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """The codes int16 (B, H, W) of a batch's mels, by nets in evaluation mode."""
        return _tokenizer(nets).encode(batch["mel"]).to(torch.int16)

    def _losses(self, reading: Reading, batch: Batch) -> Losses:
        mse = F.mse_loss(reading.mel, batch["mel"])
        perplexity, used_words = usage(reading.quantised.codes, self.settings.words)
        losses = {
            "loss": mse + self.settings.commitment * reading.quantised.commitment,
            "mse": mse,
            "commitment": reading.quantised.commitment,
            "perplexity": perplexity,
            "used_words": used_words,
        }
        if reading.logits is not None and self.settings.class_weight:
            losses["class"] = F.cross_entropy(reading.logits, batch["label"])
            losses["loss"] = losses["loss"] + self.settings.class_weight * losses["class"]
        return losses


def _tokenizer(nets: nn.ModuleDict) -> Tokenizer:
    net = nets["tokenizer"]
    assert isinstance(net, Tokenizer)
    return net
