"""Losses of waves against discriminators (Kong, Kim and Bae, 2020, section 2.2), and the distance of two by their mels."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from foleyray.audio.mel import Mel
from foleyray.modules.discriminators import Judgement
from foleyray.stage import Losses


def distance(mel: Mel, made: Tensor, real: Tensor) -> Tensor:
    """Waves (B, T) -> mean absolute difference of their log-mels, a scalar."""
    return F.l1_loss(log_mel(mel, made), log_mel(mel, real))


def log_mel(mel: Mel, wave: Tensor) -> Tensor:
    """In float32, wherever the wave lies."""
    with torch.autocast(wave.device.type, enabled=False):
        found: Tensor = mel.to(wave.device)(wave.float())
        return found


def generator_loss(made: Sequence[Judgement]) -> Tensor:
    """Least squares, summed over the discriminators; equation 2 of the paper."""
    return _sum((1 - score.float()).square().mean() for score, _ in made)


def discriminator_losses(real: Sequence[Judgement], made: Sequence[Judgement]) -> Losses:
    """Least squares, summed over the discriminators; equation 1 of the paper. The mean scores beside it tell who is ahead."""
    of_real = _sum((1 - score.float()).square().mean() for score, _ in real)
    of_made = _sum(score.float().square().mean() for score, _ in made)
    return {"loss": of_real + of_made, "on_real": of_real, "on_made": of_made}


def feature_matching(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Mean absolute difference of every layer's output, summed over layers and discriminators; equation 4 of the paper.

    Where several made waves stand for each real one, a whole batch after the other, each is compared with it.
    """
    pairs = [pair for (_, ours), (_, theirs) in zip(real, made, strict=True) for pair in zip(ours, theirs, strict=True)]
    return _sum(F.l1_loss(of_made.float(), _tiled(of_real.float(), len(of_made))) for of_real, of_made in pairs)


def _tiled(features: Tensor, batch: int) -> Tensor:
    return features.repeat(batch // len(features), *[1] * (features.dim() - 1))


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()
