"""From labels and seeds to waves: z, the generator, and the vocoder that the config names."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from foleyray.checkpoint import Checkpoint
from foleyray.clips import ClassList
from foleyray.config import UserError
from foleyray.modules.threads import by_parts, single_threads
from foleyray.modules.vocoder import Vocoder, open_vocoder
from foleyray.sampling import SamplingParams, check_batch
from foleyray.systems.contrastive_gan.config import Config, ContrastiveGanParams
from foleyray.systems.contrastive_gan.nets import Generator
from foleyray.systems.contrastive_gan.stages import build_generator

CLIPS_AT_ONCE = 16
"""On an accelerator; how many fill it."""
STANDING_BATCHES, STANDING_CLIPS = 16, 14


class ContrastiveGanSampler:
    """Clips from a trained generator. Every clip has its own generator of random numbers: first z, then the vocoder's."""

    params: type[SamplingParams] = ContrastiveGanParams

    def __init__(
        self, config: Config, classes: ClassList, averaged: Generator, raw: Generator, vocoder: Vocoder, device: torch.device
    ) -> None:
        self.clip, self.classes = config.clip, classes
        self.scale, self.floor = config.scale, config.mel.floor
        self.generators = {"on": averaged.to(device), "off": raw.to(device)}
        self.vocoder = vocoder.to(device)
        self.device = device

    def sample(self, labels: Tensor, params: Sequence[SamplingParams], seeds: Sequence[int]) -> Tensor:
        check_batch(params)
        made = by_parts(
            lambda part: self._sample(labels[part], params[part], seeds[part]), len(labels), self.device, CLIPS_AT_ONCE
        )
        return torch.cat([torch.zeros(0, self.clip.num_samples), *made])

    def class_vectors(self) -> Tensor:
        """The class embedding of the generator with averaged weights, float32 (classes, D) on the CPU."""
        return self.generators["on"].classes.weight.detach().float().cpu()

    @torch.inference_mode()
    def _sample(self, labels: Tensor, params: Sequence[SamplingParams], seeds: Sequence[int]) -> Tensor:
        chosen = [item for item in params if isinstance(item, ContrastiveGanParams)]
        generator = self.generators[chosen[0].averaged]
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        latent = torch.stack([torch.randn(generator.num_latents, generator=draw) for draw in draws])
        noise = torch.stack([self.vocoder.noise(draw) for draw in draws]).to(self.device)
        latent[:, : generator.latent] *= torch.tensor([item.truncation for item in chosen])[:, None]
        made = generator(latent.to(self.device), labels.to(self.device))
        return self.vocoder(self.scale.to_mel(made.squeeze(1), self.floor), noise).cpu()


def build(config: Config, checkpoints: Mapping[str, Checkpoint], device: torch.device) -> ContrastiveGanSampler:
    """Raises UserError where the checkpoint was trained on mels of another front end than the vocoder takes."""
    gan = checkpoints["gan"]
    if gan.card.mel_id != config.mel.id:
        raise UserError(
            f"generator {gan.id} emits mel {gan.card.mel_id}, the vocoder takes mel {config.mel.id} "
            f"({config.mel.bands} bands, hop {config.mel.hop}); use the config it was trained with, or train again"
        )
    with single_threads(1) as thread:
        return thread.submit(_assembled, config, gan, checkpoints.get("vocoder"), device).result()


def _assembled(config: Config, gan: Checkpoint, trained: Checkpoint | None, device: torch.device) -> ContrastiveGanSampler:
    averaged, raw = (_restored(config, gan, is_averaged) for is_averaged in (True, False))
    stand(averaged)
    vocoder = open_vocoder(config.vocoder, config.clip, config.mel, trained)
    return ContrastiveGanSampler(config, gan.card.classes, _plain(averaged), _plain(raw), vocoder, device)


def _restored(config: Config, gan: Checkpoint, averaged: bool) -> Generator:
    classes = len(gan.card.classes.names)
    weights = {key: value for key, value in gan.weights(averaged).items() if key.startswith("generator.")}
    nets = nn.ModuleDict({"generator": build_generator(config, classes)})
    try:
        nets.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"checkpoint {gan.path} does not fit the generator of its config: {error}") from None
    generator = nets["generator"].eval()
    assert isinstance(generator, Generator)
    return generator


@torch.no_grad()
def stand(generator: Generator) -> None:
    """Gives averaged weights statistics of their own: those on disk belong to the raw weights.

    Batch norm takes the mean over 16 batches ("standing statistics", Brock et al., 2019), and spectral norm goes on with
    its power iteration. Always with the same random numbers.
    """
    draws = torch.Generator().manual_seed(0)
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    label = torch.arange(STANDING_CLIPS) % generator.classes.num_embeddings
    generator.train()
    for _ in range(STANDING_BATCHES):
        generator(torch.randn(STANDING_CLIPS, generator.num_latents, generator=draws), label)
    generator.eval()


def _plain(generator: Generator) -> Generator:
    """With the spectral norm worked into the weights, which then need no more work per clip."""
    for module in generator.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    return generator.requires_grad_(False)
