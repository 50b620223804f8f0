"""From labels and seeds to waves: codes row by row, their mels, and the vocoder that the config names."""

from collections.abc import Mapping, Sequence
from math import log

import torch
from torch import Tensor, nn

from foleyray.checkpoint import Checkpoint
from foleyray.clips import ClassList
from foleyray.config import UserError
from foleyray.modules.pixelsnail import PixelSNAIL
from foleyray.modules.rows import RowSampler
from foleyray.modules.threads import by_parts, single_threads
from foleyray.modules.tokenizer import Tokenizer
from foleyray.modules.vocoder import Vocoder, open_vocoder
from foleyray.sampling import SamplingParams
from foleyray.stage import Stage
from foleyray.systems.vqvae_pixelsnail.config import Config, VqvaePixelsnailParams
from foleyray.systems.vqvae_pixelsnail.stages import stages


class VqvaePixelsnailSampler:
    """Clips from trained codes. A clip's seed draws its codes, and the numbers its vocoder begins with."""

    params: type[SamplingParams] = VqvaePixelsnailParams

    def __init__(
        self,
        config: Config,
        classes: ClassList,
        prior: PixelSNAIL,
        tokenizer: Tokenizer,
        vocoder: Vocoder,
        device: torch.device,
    ) -> None:
        self.clip, self.classes = config.clip, classes
        self.rows = RowSampler(prior, device, config.sampling_precision)
        self.tokenizer, self.vocoder, self.device = tokenizer.to(device), vocoder.to(device), device
        self.floor = log(config.mel.floor)

    def sample(self, labels: Tensor, params: Sequence[SamplingParams], seeds: Sequence[int]) -> Tensor:
        if not len(labels):
            return torch.zeros(0, self.clip.num_samples)
        chosen = [item for item in params if isinstance(item, VqvaePixelsnailParams)]
        codes = self.rows.sample(
            labels,
            temperature=[item.temperature for item in chosen],
            top_k=[item.top_k for item in chosen],
            top_p=[item.top_p for item in chosen],
            seeds=seeds,
        )
        texture = torch.tensor([item.texture for item in chosen])
        made = by_parts(
            lambda part: self._sound(codes[part], texture[part], seeds[part]), len(labels), self.device, len(labels)
        )
        return torch.cat(made)

    @torch.inference_mode()
    def _sound(self, codes: Tensor, texture: Tensor, seeds: Sequence[int]) -> Tensor:
        """codes (B, rows, cols), texture (B,) -> wave (B, T) on the CPU"""
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.stack([self.vocoder.noise(draw) for draw in draws])
        mel, spread = self.tokenizer.decode(codes.to(self.device)), self.tokenizer.texture(codes.to(self.device))
        grain = torch.stack([torch.randn(mel.shape[1:], generator=draw) for draw in draws]) * texture[:, None, None]
        return self.vocoder((mel + spread * grain.to(self.device)).clamp(min=self.floor), noise.to(self.device)).cpu()


def build(config: Config, checkpoints: Mapping[str, Checkpoint], device: torch.device) -> VqvaePixelsnailSampler:
    """Raises UserError where a checkpoint was trained on mels of another front end, or does not fit its config."""
    with single_threads(1) as thread:
        return thread.submit(_assembled, config, checkpoints, device).result()


def _assembled(config: Config, checkpoints: Mapping[str, Checkpoint], device: torch.device) -> VqvaePixelsnailSampler:
    classes = checkpoints["prior"].card.classes
    # What training began with need not be on this machine.
    fresh = config.model_copy(update={"prior": config.prior.model_copy(update={"start": None})})
    nets = {stage.name: _restored(stage, checkpoints[stage.name], config) for stage in stages(fresh, classes)[-2:]}
    vocoder = open_vocoder(config.vocoder, config.clip, config.mel, checkpoints.get("vocoder"))
    prior, tokenizer = nets["prior"], nets["tokenizer"]
    assert isinstance(prior, PixelSNAIL) and isinstance(tokenizer, Tokenizer)
    return VqvaePixelsnailSampler(config, classes, prior, tokenizer, vocoder, device)


def _restored(stage: Stage, saved: Checkpoint, config: Config) -> nn.Module:
    if saved.card.mel_id != config.mel.id:
        raise UserError(
            f"{stage.name} {saved.id} was trained on mel {saved.card.mel_id}, the config says mel {config.mel.id} "
            f"({config.mel.bands} bands, hop {config.mel.hop}); use the config it was trained with, or train again"
        )
    return saved.restore(stage.build({})).eval().requires_grad_(False)[stage.name]
