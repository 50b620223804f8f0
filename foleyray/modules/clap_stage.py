"""The stage `clap`: a tiny joint embedding trained on the corpus, or a copy of a published one."""

from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from foleyray.audio.wav import resample
from foleyray.clips import ClassList, ClipSpec
from foleyray.config import fingerprint
from foleyray.modules.clap import ClapNet, Identity, PublishedClapSettings, clap_net
from foleyray.modules.prompts import sentences
from foleyray.modules.schedules import OneCycle
from foleyray.modules.tiny_clap import TinyClap, TinyClapSettings
from foleyray.pretrained.clap import PUBLISHED, TEXTS, WEIGHTS, PublishedClap, weights_file
from foleyray.progress import Quiet
from foleyray.stage import Batch, Losses, Step


class ClapStage:
    """What both kinds have in common: the column, and how a batch is judged."""

    name: str = "clap"
    reads: tuple[str, ...] = ("wave", "label")
    needs: tuple[str, ...] = ()
    repeats: Mapping[str, int] = {}
    averaged: tuple[str, ...] = ()
    makes: str = "clap"

    def __init__(self, prompts: Mapping[str, str], clip: ClipSpec, classes: ClassList) -> None:
        self.sentences = tuple(sentences(prompts, classes).values())
        self.sample_rate_hz = clip.sample_rate_hz
        unlike = list(dict.fromkeys(self.sentences))
        self.meant = torch.tensor([unlike.index(sentence) for sentence in self.sentences])
        """Class -> number of its sentence, which two classes may share."""

    def encode(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """The vectors float32 (B, D) of a batch's waves, by nets in evaluation mode."""
        return self.heard(clap_net(nets), batch["wave"])

    def heard(self, net: ClapNet, wave: Tensor) -> Tensor:
        return net.embed_audio(resample(wave, self.sample_rate_hz, net.sample_rate_hz))

    def judged(self, net: ClapNet, batch: Batch) -> Losses:
        """Share of clips whose nearest sentence is their own, and the mean cosine to it."""
        cosines = self.heard(net, batch["wave"]) @ net.embed_text(self.sentences).T
        own = cosines.gather(1, batch["label"][:, None])
        return {"accuracy": (own[:, 0] >= cosines.amax(dim=1)).float().mean(), "own_cosine": own.mean()}


class TinyClapStage(ClapStage):
    """Contrast of clips and sentences both ways with a learnt temperature, as CLAP is trained (Wu et al., 2023, section 2).

    All clips of a class are right for its sentence, to equal shares.
    """

    turns: Mapping[str, tuple[str, ...]] = {"clap": ("clap",)}

    def __init__(self, settings: TinyClapSettings, clip: ClipSpec, classes: ClassList) -> None:
        super().__init__(settings.prompts, clip, classes)
        self.settings, self.identity = settings, Identity(clap=settings, clip=clip)

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        return nn.ModuleDict({"clap": TinyClap(self.settings, self.sentences)})

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> Optimizer:
        return AdamW(nets.parameters(), self.settings.learning_rate, weight_decay=self.settings.weight_decay)

    def learning_rate(self, turn: str, step: Step) -> float:
        return OneCycle().factor(step)

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        settings = self.settings
        shift = round(settings.shift_seconds * self.sample_rate_hz)
        wave = shifted_and_turned(batch["wave"], shift, settings.gain_db, step.generator)
        return self._losses(nets, wave, batch["label"])

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return self._losses(nets, batch["wave"], batch["label"]) | self.judged(clap_net(nets), batch)

    def _losses(self, nets: nn.ModuleDict, wave: Tensor, label: Tensor) -> Losses:
        net = nets["clap"]
        assert isinstance(net, TinyClap)
        texts = net.embed_text((*self.sentences, ""))
        scale = net.log_scale.exp().clamp(max=self.settings.sharpest)
        logits = scale * self.heard(net, wave) @ torch.cat([texts[label], texts[-1:]]).T
        return {"loss": contrast(logits, self.meant.to(label.device)[label]), "scale": scale}


def contrast(logits: Tensor, meant: Tensor) -> Tensor:
    """logits (B, B + 1) of clips to the sentences of the same clips, then to "", which is none's; meant (B,) -> a scalar.

    The mean of both ways' cross-entropies, against equal shares for all pairs of one meaning.
    """
    same = (meant[:, None] == meant).float()
    same = same / same.sum(dim=1, keepdim=True)
    to_text = F.cross_entropy(logits, F.pad(same, (0, 1)))
    return (to_text + F.cross_entropy(logits[:, :-1].T, same)) / 2


def shifted_and_turned(wave: Tensor, shift: int, gain_db: float, generator: torch.Generator) -> Tensor:
    """wave (B, T) -> the same, each clip moved round its end by up to `shift` samples, and louder or softer by `gain_db`."""
    by = torch.randint(-shift, shift + 1, (len(wave), 1), generator=generator, device=wave.device)
    decibels = (2 * torch.rand(len(wave), 1, generator=generator, device=wave.device) - 1) * gain_db
    places = torch.arange(wave.shape[1], device=wave.device)
    return wave.gather(1, (places - by) % wave.shape[1]) * 10 ** (decibels / 20)


class PublishedClapStage(ClapStage):
    """Trains nothing: its checkpoint is a copy, so that all that is made with it stays whole when the model is gone."""

    turns: Mapping[str, tuple[str, ...]] = {}

    def __init__(self, settings: PublishedClapSettings, clip: ClipSpec, classes: ClassList) -> None:
        super().__init__(settings.prompts, clip, classes)
        self.settings, self.clip = settings, clip

    @cached_property
    def identity(self) -> Identity:
        """Named by what the model's files hold. Raises UserError where they are missing."""
        settings = self.settings.model_copy(update={"model": None})
        return Identity(clap=settings, clip=self.clip, content=_content(self.settings.model))

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        """Raises UserError where the model's files are missing, do not fit, or know no word of a prompt."""
        net = _opened(self.settings.model)
        net.check_words(self.sentences)
        return nn.ModuleDict({"clap": net})

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> Optimizer:
        raise AssertionError("a published clap is not trained")

    def learning_rate(self, turn: str, step: Step) -> float:
        raise AssertionError("a published clap is not trained")

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        raise AssertionError("a published clap is not trained")

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return self.judged(clap_net(nets), batch)


def clap_stage(
    settings: TinyClapSettings | PublishedClapSettings, clip: ClipSpec, classes: ClassList
) -> TinyClapStage | PublishedClapStage:
    """The stage `clap` of those settings."""
    if isinstance(settings, TinyClapSettings):
        return TinyClapStage(settings, clip, classes)
    return PublishedClapStage(settings, clip, classes)


def _opened(model: Path | None) -> PublishedClap:
    folder = model or PUBLISHED.locate(None, Quiet())
    return PublishedClap.open(folder, weights_file(folder) if model else folder / WEIGHTS)


def _content(model: Path | None) -> str:
    """8 hex digits of a model's weights and of the small files beside them."""
    if model is None:
        return fingerprint([file.sha256 for file in PUBLISHED.files])
    found = [file for file in (weights_file(model), *(model / name for name in TEXTS)) if file.is_file()]
    return _content_of(model, tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in found))


@cache
def _content_of(model: Path, stamps: tuple[tuple[int, int], ...]) -> str:
    """Read once for each state of the files: a run is named often."""
    net = _opened(model)
    return fingerprint(net.weights_id, net.texts)
