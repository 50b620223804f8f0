"""What trains a HiFi-GAN: the stage `vocoder` of any system that has chosen one."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from foleyray.audio.mel import Mel
from foleyray.clips import ClipSpec, MelSpec
from foleyray.config import Config, UserError
from foleyray.modules.adversarial import discriminator_losses, distance, feature_matching, generator_loss, log_mel
from foleyray.modules.discriminators import Judgement, MultiPeriodDiscriminator, MultiScaleDiscriminator
from foleyray.modules.hifigan import HiFiGAN, weight_normed
from foleyray.modules.public_hifigan import load_public
from foleyray.modules.segments import Segments
from foleyray.modules.vocoder import AnyVocoder, GriffinLimSettings, HiFiGANSettings, Judge
from foleyray.stage import Batch, Losses, Stage, Step

JUDGES: dict[Judge, Callable[[int], nn.Module]] = {"periods": MultiPeriodDiscriminator, "scales": MultiScaleDiscriminator}


class Identity(Config):
    """All that a trained vocoder follows from."""

    vocoder: HiFiGANSettings
    clip: ClipSpec
    mel: MelSpec


class VocoderStage:
    """Copy synthesis of real clips, judged by their full-band mel and by discriminators (Kong et al., 2020, section 2.4).

    The generator goes first: the waves it makes in its turn are what the discriminators then judge, so they are made once.
    """

    name: str = "vocoder"
    reads: tuple[str, ...] = ("wave",)
    needs: tuple[str, ...] = ()
    repeats: Mapping[str, int] = {}
    averaged: tuple[str, ...] = ()

    def __init__(self, settings: HiFiGANSettings, clip: ClipSpec, mel: MelSpec) -> None:
        settings.check(clip, mel)
        self.settings, self.spec = settings, mel
        self.identity = Identity(vocoder=settings, clip=clip, mel=mel)
        self.segments = Segments(mel, settings.segment)
        self.full_band = Mel(mel.model_copy(update={"low_hz": 0.0, "high_hz": mel.sample_rate_hz / 2}))
        judged = {"discriminator": settings.judges} if settings.judges else {}
        self.turns: Mapping[str, tuple[str, ...]] = {"generator": ("generator",), **judged}

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        """Raises UserError where the public weights to start from are not there or do not fit."""
        nets: dict[str, nn.Module] = {"generator": weight_normed(self._fresh())}
        nets |= {name: JUDGES[name](self.settings.judge_width) for name in self.settings.judges}
        return nn.ModuleDict(nets)

    def _fresh(self) -> HiFiGAN:
        layout, start = self.settings.layout, self.settings.start
        if start is None:
            return HiFiGAN(layout, self.spec.bands)
        generator = load_public(start.weights, start.settings, self.spec)
        if generator.layout != layout:
            raise UserError(
                f"the vocoder to start from has the layout {generator.layout!r}, the config says {layout!r}; "
                "write the former into vocoder.layout"
            )
        return generator.train().requires_grad_(True)

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> Optimizer:
        parameters = [parameter for name in self.turns[turn] for parameter in nets[name].parameters()]
        return AdamW(parameters, self.settings.learning_rate, self.settings.betas)

    def learning_rate(self, turn: str, step: Step) -> float:
        """Exponential decay, by the step and not by the epoch."""
        return self.settings.decay ** (step.index / self.settings.decay_every)

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        if turn == "discriminator":
            return discriminator_losses(*(self._judge(nets, wave) for wave in step.memo.pop("real_and_made")))
        mel, real = self.segments.cut(batch["wave"], step.generator)
        made = nets["generator"](mel)
        error = distance(self.full_band, made, real)
        if not self.settings.judges:
            return {"loss": self.settings.mel_weight * error, "mel": error}
        step.memo["real_and_made"] = real, made.detach()
        return self._judged_losses(nets, real, made, error)

    def _judged_losses(self, nets: nn.ModuleDict, real: Tensor, made: Tensor, error: Tensor) -> Losses:
        # In evaluation mode a judge keeps the state of its spectral norm: only its own turn may change it.
        for name in self.settings.judges:
            nets[name].eval()
        with torch.no_grad():
            of_real = self._judge(nets, real)
        of_made = self._judge(nets, made)
        for name in self.settings.judges:
            nets[name].train()
        adversarial, features = generator_loss(of_made), feature_matching(of_real, of_made)
        return {
            "loss": self.settings.mel_weight * error + self.settings.feature_weight * features + adversarial,
            "mel": error,
            "features": features,
            "adversarial": adversarial,
        }

    def _judge(self, nets: nn.ModuleDict, wave: Tensor) -> list[Judgement]:
        return [judgement for name in self.settings.judges for judgement in nets[name](wave)]

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        """Copy synthesis of whole clips: mean absolute errors of the full-band log-mel, and of the log-mel it was made from."""
        wave, mel = batch["wave"], self.segments.mel
        made = nets["generator"](log_mel(mel, wave))[:, : wave.shape[1]]
        made = F.pad(made, (0, wave.shape[1] - made.shape[1]))
        return {"loss": distance(self.full_band, made, wave), "copy_synthesis": distance(mel, made, wave)}


def vocoder_stages(settings: AnyVocoder, clip: ClipSpec, mel: MelSpec) -> tuple[Stage, ...]:
    """The stages that train or keep the vocoder of those settings: none where it has no weights."""
    if isinstance(settings, HiFiGANSettings):
        return (VocoderStage(settings, clip, mel),)
    if isinstance(settings, GriffinLimSettings):
        return ()
    from foleyray.modules.speecht5_vocoder import SpeechT5VocoderStage  # transformers takes seconds to import

    return (SpeechT5VocoderStage(settings, clip, mel),)
