"""From classes or sentences and seeds to waves: latents out of noise, their mels, and the vocoder that the config names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.audio.wav import resample
from foleyray.checkpoint import Checkpoint
from foleyray.clips import ClassList
from foleyray.config import UserError
from foleyray.modules.clap import Clap, open_clap
from foleyray.modules.threads import by_parts, single_threads
from foleyray.modules.vocoder import Vocoder, open_vocoder
from foleyray.sampling import SamplingParams, check_batch
from foleyray.systems.ldm.conditions import LabelCondition, TextCondition
from foleyray.systems.ldm.config import Config, LdmParams
from foleyray.systems.ldm.denoiser import Denoiser
from foleyray.systems.ldm.diffusion import denoised, guided
from foleyray.systems.ldm.diffusion_stages import FinetuneStage
from foleyray.systems.ldm.vae import MelVae
from foleyray.systems.ldm.vae_stage import VaeStage

CLIPS_AT_ONCE = 32
"""On an accelerator."""


class LdmSampler:
    """Clips of classes. A clip's seed draws the noise it begins with, its vocoder's, DDIM's on the way, and its texture."""

    params: type[SamplingParams] = LdmParams

    def __init__(
        self, config: Config, classes: ClassList, nets: nn.ModuleDict, vae: MelVae, vocoder: Vocoder, device: torch.device
    ) -> None:
        denoiser, condition = nets["denoiser"], nets["condition"]
        assert isinstance(denoiser, Denoiser) and isinstance(condition, LabelCondition | TextCondition)
        self.clip, self.classes, self.device = config.clip, classes, device
        self.heard_hz, self.grid, self.floor = config.heard.sample_rate_hz, config.grid, log(config.heard.floor)
        self.denoiser, self.condition = denoiser.to(device), condition.to(device)
        self.vae, self.vocoder = vae.to(device), vocoder.to(device)

    def sample(self, labels: Tensor, params: Sequence[SamplingParams], seeds: Sequence[int]) -> Tensor:
        return self._sample(labels, [None] * len(labels), params, seeds)

    def _sample(
        self, labels: Tensor, texts: Sequence[Tensor | None], params: Sequence[SamplingParams], seeds: Sequence[int]
    ) -> Tensor:
        """As `sample`, with the vector (D,) of a sentence for each clip that has one."""
        check_batch(params)
        chosen = [item for item in params if isinstance(item, LdmParams)]
        made = by_parts(
            lambda part: self._sound(labels[part], texts[part], chosen[part], seeds[part]),
            len(labels),
            self.device,
            CLIPS_AT_ONCE,
        )
        return torch.cat([torch.zeros(0, self.clip.num_samples), *made])

    @torch.inference_mode()
    def _sound(
        self, labels: Tensor, texts: Sequence[Tensor | None], params: Sequence[LdmParams], seeds: Sequence[int]
    ) -> Tensor:
        """-> wave (B, T) on the CPU"""
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.stack(
            [item.noise_scale * torch.randn(self.grid, generator=draw) for item, draw in zip(params, draws, strict=True)]
        )
        begins = torch.stack([self.vocoder.noise(draw) for draw in draws]).to(self.device)
        guidance = torch.tensor([item.guidance for item in params], device=self.device)
        condition = self._conditions(labels.to(self.device), texts)
        predict = guided(self.denoiser, condition, self.condition.unconditional, guidance)
        way = params[0]
        latents = denoised(predict, noise.to(self.device), solver=way.solver, steps=way.steps, eta=way.eta, draws=draws)
        mel = self._textured(self.vae.decode(latents), latents, params, draws)
        wave = self.vocoder(mel.clamp(min=self.floor), begins)
        return self._fitted(resample(wave, self.heard_hz, self.clip.sample_rate_hz)).cpu()

    def _textured(self, mel: Tensor, latents: Tensor, params: Sequence[LdmParams], draws: Sequence[torch.Generator]) -> Tensor:
        """log-mel (B, bands, frames) with noise as strong as each clip's `texture` says."""
        if not any(item.texture for item in params):
            return mel
        grain = [item.texture * torch.randn(mel.shape[1:], generator=draw) for item, draw in zip(params, draws, strict=True)]
        return mel + self.vae.spread(latents) * torch.stack(grain).to(mel)

    def _conditions(self, labels: Tensor, texts: Sequence[Tensor | None]) -> Tensor:
        """(B, D)"""
        if isinstance(self.condition, LabelCondition):
            return self.condition(labels)
        own = self.condition.sentences[labels]
        told = [ours if text is None else text.to(own) for ours, text in zip(own, texts, strict=True)]
        return self.condition(labels, torch.stack(told))

    def _fitted(self, wave: Tensor) -> Tensor:
        """Where another rate was heard, resampling may leave the range or, with odd lengths, a sample more or less."""
        wave = wave[:, : self.clip.num_samples].clamp(-1, 1)
        return F.pad(wave, (0, self.clip.num_samples - wave.shape[1]))


class PromptedLdmSampler(LdmSampler):
    """Clips of classes or of sentences, whose vectors go the way of the classes' own. See `Prompted`."""

    def __init__(
        self,
        config: Config,
        classes: ClassList,
        nets: nn.ModuleDict,
        vae: MelVae,
        vocoder: Vocoder,
        device: torch.device,
        clap: Clap,
    ) -> None:
        super().__init__(config, classes, nets, vae, vocoder, device)
        self.clap = clap

    def sample(
        self,
        labels: Tensor,
        params: Sequence[SamplingParams],
        seeds: Sequence[int],
        prompts: Sequence[str | None] | None = None,
    ) -> Tensor:
        """Raises UserError where clap knows no word of a prompt."""
        return self._sample(labels, self._texts(prompts or [None] * len(labels)), params, seeds)

    @torch.inference_mode()
    def targets(self, labels: Tensor, prompts: Sequence[str | None]) -> Tensor:
        texts, labels = self._texts(prompts), labels.to(self.device)
        each = [self._conditions(labels[at : at + 1], texts[at : at + 1]) for at in range(len(labels))]
        none = torch.zeros(0, self.clap.dim, device=self.device)
        return F.normalize(torch.cat([none, *each]), dim=1).cpu()

    def _texts(self, prompts: Sequence[str | None]) -> list[Tensor | None]:
        """The vector (D,) of each prompt."""
        told = list(dict.fromkeys(prompt for prompt in prompts if prompt is not None))
        vectors = dict(zip(told, self.clap.embed_text(told), strict=True)) if told else {}
        return [None if prompt is None else vectors[prompt] for prompt in prompts]


def build(config: Config, checkpoints: Mapping[str, Checkpoint], device: torch.device) -> LdmSampler:
    """Raises UserError where a checkpoint was trained on mels of another front end, or does not fit its config."""
    with single_threads(1) as thread:
        return thread.submit(_assembled, config, checkpoints, device).result()


def _assembled(config: Config, checkpoints: Mapping[str, Checkpoint], device: torch.device) -> LdmSampler:
    for saved in checkpoints.values():
        _check_mel(saved, config)
    diffusion = checkpoints["ldm_finetune"]
    classes = diffusion.card.classes
    nets = _still(diffusion, FinetuneStage(config, classes).blank())
    vae = _still(checkpoints["vae"], VaeStage(config).blank())["vae"]
    assert isinstance(vae, MelVae)
    vocoder = open_vocoder(config.vocoder, config.heard_clip, config.heard, _heard(checkpoints.get("vocoder"), config))
    if config.condition == "label":
        return LdmSampler(config, classes, nets, vae, vocoder, device)
    return PromptedLdmSampler(config, classes, nets, vae, vocoder, device, open_clap(checkpoints["clap"], device))


def _still(saved: Checkpoint, nets: nn.ModuleDict) -> nn.ModuleDict:
    return saved.restore(nets).eval().requires_grad_(False)


def _heard(vocoder: Checkpoint | None, config: Config) -> Checkpoint | None:
    """Its card names the mel of the corpus, as all cards do; it was trained on those of the config's own front end."""
    return vocoder and replace(vocoder, card=vocoder.card.model_copy(update={"mel_id": config.heard.id}))


def _check_mel(saved: Checkpoint, config: Config) -> None:
    if saved.card.mel_id != config.mel.id:
        raise UserError(
            f"{saved.card.stage} {saved.id} was trained on mel {saved.card.mel_id}, the config says mel {config.mel.id} "
            f"({config.mel.bands} bands, hop {config.mel.hop}); use the config it was trained with, or train again"
        )
