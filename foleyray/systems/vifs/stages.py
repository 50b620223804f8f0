"""What is trained: one stage, a synthesizer of waves and its discriminators in turns."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_
from torch.optim import AdamW, Optimizer

from foleyray.audio.mel import Mel
from foleyray.clips import ClassList
from foleyray.modules.adversarial import discriminator_losses, distance, feature_matching, generator_loss
from foleyray.modules.discriminators import (
    CollaborativeMultiBandDiscriminator,
    Judgement,
    SubBandDiscriminator,
)
from foleyray.modules.phase_aug import PhaseAug
from foleyray.stage import Batch, Losses, Stage, Step
from foleyray.systems.vifs.config import Config
from foleyray.systems.vifs.losses import divergence, strangeness
from foleyray.systems.vifs.synthesizer import Synthesizer


def stages(config: Config, classes: ClassList) -> tuple[Stage, ...]:
    """In training order."""
    return (VifsStage(config, len(classes.names)),)


def samples_from(config: Config) -> tuple[str, ...]:
    """The stages whose checkpoints make the sound."""
    return ("vifs",)


class VifsStage:
    """Variational inference end to end: a clip's latents by its own spectrogram, and waves of slices of them.

    The synthesizer goes first: the waves it makes in its turn are what the discriminators then judge, so they are made once.
    """

    name: str = "vifs"
    reads: tuple[str, ...] = ("wave", "label")
    needs: tuple[str, ...] = ()
    turns: Mapping[str, tuple[str, ...]] = {"synthesizer": ("synthesizer",), "discriminators": ("bands", "subbands")}
    repeats: Mapping[str, int] = {}
    averaged: tuple[str, ...] = ("synthesizer",)

    def __init__(self, config: Config, num_classes: int) -> None:
        self.config, self.num_classes = config, num_classes
        self.spectrum = Mel(config.mel)
        self.full_band = Mel(config.mel.model_copy(update={"low_hz": 0.0, "high_hz": config.mel.sample_rate_hz / 2}))
        self.phase_aug = PhaseAug() if config.judges.phase_aug else None

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        width = self.config.judges.width
        return nn.ModuleDict(
            {
                "synthesizer": fresh(self.config, self.num_classes),
                "bands": CollaborativeMultiBandDiscriminator(width),
                "subbands": SubBandDiscriminator(width, self.config.segment),
            }
        )

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> Optimizer:
        parameters = [parameter for name in self.turns[turn] for parameter in nets[name].parameters()]
        optimizer = AdamW(parameters, self.config.learning_rate, self.config.betas)
        if turn == "synthesizer":
            # By value, not by norm, and the discriminators not at all.
            optimizer.register_step_pre_hook(lambda *_: clip_grad_value_(parameters, self.config.clip_value))
        return optimizer

    def learning_rate(self, turn: str, step: Step) -> float:
        """Exponential decay, by the step and not by the epoch."""
        return self.config.decay ** (step.index / self.config.decay_every)

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        if turn == "discriminators":
            real, made = step.memo.pop("real_and_made")
            return discriminator_losses(judged(nets, real), judged(nets, *made))
        found, real, made = self._reconstructed(_synthesizer(nets), batch, step)
        real, seen = self._turned(real, made, step)
        step.memo["real_and_made"] = real, [wave.detach() for wave in seen]
        with torch.no_grad():
            of_real = judged(nets, real)
        of_made = judged(nets, *seen)
        adversarial, features = generator_loss(of_made), feature_matching(of_real, of_made)
        total = found["loss"] + adversarial + self.config.feature_weight * features
        return found | {"loss": total, "adversarial": adversarial, "features": features}

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        """Of pieces as in training, without the discriminators."""
        return self._reconstructed(_synthesizer(nets), batch, step)[0]

    def _reconstructed(self, net: Synthesizer, batch: Batch, step: Step) -> tuple[Losses, Tensor, list[Tensor]]:
        """Losses, the real piece (B, segment), and the made one at three rates, coarse to fine."""
        config, label = self.config, batch["label"]
        wave = levelled(batch["wave"], config.peak)
        posterior = net.encode(self._magnitude(wave), label, step.generator)
        summary = net.pool(posterior)
        kl = divergence(net.to_prior(posterior.z, label), posterior, net.prior(summary, label))
        strange = strangeness(summary, config.sap_moments, step.generator)
        real, latents = self._cut(wave, posterior.z, step.generator)
        made = [part.float() for part in net.decode(latents, label)]
        error = distance(self.full_band, made[-1], real)
        loss = config.mel_weight * error + config.kl_weight * kl + config.sap_weight * strange
        return {"loss": loss, "mel": error, "kl": kl, "sap": strange}, real, made

    def _magnitude(self, wave: Tensor) -> Tensor:
        with torch.autocast(wave.device.type, enabled=False):
            return self.spectrum.to(wave.device).magnitude(wave)

    def _cut(self, wave: Tensor, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The same random piece of each clip's wave (B, segment) and latents (B, C, segment / hop)."""
        hop, size = self.config.mel.hop, self.config.segment // self.config.mel.hop
        last = min(z.shape[2], wave.shape[1] // hop) - size
        begin = torch.randint(last + 1, (len(z), 1), generator=generator, device=z.device)
        frames = begin + torch.arange(size, device=z.device)
        samples = begin * hop + torch.arange(size * hop, device=z.device)
        return wave.gather(1, samples), z.gather(2, frames.unsqueeze(1).expand(-1, z.shape[1], -1))

    def _turned(self, real: Tensor, made: Sequence[Tensor], step: Step) -> tuple[Tensor, list[Tensor]]:
        """Real piece and made ones as the discriminators see them: at the full rate both with the same turn of their phases."""
        if self.phase_aug is None:
            return real, list(made)
        *lower, full = made
        rotation = self.phase_aug.draw(len(real), step.generator, real.device)
        real, full = self.phase_aug(torch.cat([real, full]), rotation).chunk(2)
        return real.detach(), [*lower, full]


def fresh(config: Config, num_classes: int) -> Synthesizer:
    """A synthesizer with random weights."""
    return Synthesizer(config.layout, config.bins, config.frames, num_classes)


def judged(nets: nn.ModuleDict, *waves: Tensor) -> list[Judgement]:
    """Seven judgements of a wave (B, N), which may come after the decoder's own waves of lower rates."""
    *lower, full = waves
    return [*nets["bands"](full, lower), *nets["subbands"](full)]


def levelled(wave: Tensor, peak: float) -> Tensor:
    """Waves (B, N) that all have that peak; silence stays."""
    return wave * (peak / wave.abs().amax(1, keepdim=True).clamp(min=1e-5))


def _synthesizer(nets: nn.ModuleDict) -> Synthesizer:
    net = nets["synthesizer"]
    assert isinstance(net, Synthesizer)
    return net
