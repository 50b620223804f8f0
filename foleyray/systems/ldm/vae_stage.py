"""How the autoencoder is trained, and the column of latents that a trained one makes for the diffusion."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from foleyray.clips import ClipSpec, MelSpec
from foleyray.config import Config as Settings
from foleyray.stage import Batch, Losses, Step
from foleyray.systems.ldm.config import Config
from foleyray.systems.ldm.front import Front
from foleyray.systems.ldm.judge import PatchJudge, adaptive_weight
from foleyray.systems.ldm.vae import MelVae, VaeSettings


class Identity(Settings):
    """All that a trained autoencoder follows from."""

    vae: VaeSettings
    clip: ClipSpec
    mel: MelSpec
    front: MelSpec | None
    start: str | None


class VaeStage:
    """Mean absolute error of the log-mel in nats, the divergence of the latents from a normal distribution, and a judge.

    Beside them the texture learns, of its own, how large those errors are; no gradient of it reaches the autoencoder.

    The perceptual term (LPIPS) of the sheet is left out: its weights are those of a network for photographs.
    """

    name: str = "vae"
    needs: tuple[str, ...] = ()
    repeats: Mapping[str, int] = {}
    averaged: tuple[str, ...] = ()
    makes: str = "latents"

    def __init__(self, config: Config) -> None:
        self.settings, self.start = config.vae, config.start
        self.identity = Identity(vae=config.vae, clip=config.clip, mel=config.mel, front=config.front, start=config.start)
        self.front = Front(config.clip, config.mel, config.front)
        self.reads = self.front.reads
        self.frames = self.front.spec.frames(self.front.num_samples)
        judge = {"judge": ("judge",)} if config.vae.judge else {}
        self.turns: Mapping[str, tuple[str, ...]] = {"vae": ("vae",), **judge}

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        """Raises UserError where the published weights to start from are not there or do not fit."""
        nets = self.blank()
        if self.start:
            from foleyray.systems.ldm.public_audioldm import load_vae  # transformers takes seconds to import

            # The published scale stays: latents of another spread would be strange to the denoiser beside them.
            _vae(nets).moments[1] = load_vae(self.start, _vae(nets).net) ** -2
        return nets

    def blank(self) -> nn.ModuleDict:
        """Nets with random weights, for a checkpoint to be loaded."""
        nets: dict[str, nn.Module] = {"vae": MelVae(self.settings, self.front.spec.bands, self.frames)}
        if self.settings.judge:
            nets["judge"] = PatchJudge(self.settings.judge.width)
        return nn.ModuleDict(nets)

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> Optimizer:
        return Adam(nets[turn].parameters(), self.settings.learning_rate, betas=(0.5, 0.9))

    def learning_rate(self, turn: str, step: Step) -> float:
        return self.settings.schedule.factor(step)

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        return self._judge_loss(nets, step) if turn == "judge" else self._vae_loss(nets, batch, step)

    def _vae_loss(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        vae, mel = _vae(nets), self.front.log_mel(batch)
        posterior = vae.posterior(mel)
        if not self.start:
            vae.measure(posterior.mode())
        latents = posterior.sample(step.generator)
        made = vae.reconstruction(latents)
        losses = self._errors(mel, made, posterior.kl())
        judge = self.settings.judge
        if judge:
            step.memo["real_and_made"] = mel, made.detach()
        if judge and step.index >= judge.begin:
            adversarial = -nets["judge"](made).mean()
            last = vae.net.decoder.conv_out.weight
            weight = judge.weight * adaptive_weight(losses["loss"], adversarial, last)
            losses |= {"loss": losses["loss"] + weight * adversarial, "adversarial": adversarial, "judge_weight": weight}
        texture = vae.texture.loss(latents, mel - made)
        return losses | {"loss": losses["loss"] + texture, "texture": texture}

    def _judge_loss(self, nets: nn.ModuleDict, step: Step) -> Losses:
        """Hinge, from the step on at which the judge counts."""
        real, made = step.memo.pop("real_and_made")
        judge = self.settings.judge
        assert judge
        if step.index < judge.begin:
            still = [parameter.sum() for parameter in nets["judge"].parameters()]
            return {"loss": 0.0 * sum(still[1:], still[0])}
        of_real, of_made = nets["judge"](real), nets["judge"](made)
        loss = 0.5 * (F.relu(1 - of_real).mean() + F.relu(1 + of_made).mean())
        return {"loss": loss, "on_real": of_real.mean(), "on_made": of_made.mean()}

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        """Of the likeliest latents, as the diffusion learns them; `spread` is their deviation, by which it divides."""
        vae, mel = _vae(nets), self.front.log_mel(batch)
        posterior = vae.posterior(mel)
        latents = posterior.mode()
        made = vae.reconstruction(latents)
        texture = vae.texture.loss(latents, mel - made)
        return self._errors(mel, made, posterior.kl()) | {"spread": vae.std, "texture": texture}

    def encode(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """The scaled latents float32 (B, C, T, F) of a batch, by nets in evaluation mode."""
        return _vae(nets).encode(self.front.log_mel(batch))

    def _errors(self, mel: Tensor, made: Tensor, kl: Tensor) -> Losses:
        """All by the value of a mel: the sum over the latent is divided by the size of the mel as well."""
        error, divergence = F.l1_loss(made, mel), kl.mean() / mel[0].numel()
        return {"loss": error + self.settings.kl_weight * divergence, "error": error, "divergence": divergence}


def _vae(nets: nn.ModuleDict) -> MelVae:
    net = nets["vae"]
    assert isinstance(net, MelVae)
    return net
