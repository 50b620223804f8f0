"""Sounds to follow a training by ear: one of each class, from the checkpoints on disk, with seeds that never change."""

from collections.abc import Mapping

import torch
from torch import Tensor

from foleyray.checkpoint import Checkpoint
from foleyray.system import load_sampler


def previews(checkpoints: Mapping[str, Checkpoint], device: torch.device) -> tuple[dict[str, Tensor], int]:
    """Class name -> wave float32 (T,), and their rate in Hz. Class k has seed k, and the sampling parameters their starts."""
    sampler = load_sampler(checkpoints, device)
    names = sampler.classes.names
    labels = torch.arange(len(names))
    waves = sampler.sample(labels, [sampler.params()] * len(names), range(len(names)))
    return dict(zip(names, waves, strict=True)), sampler.clip.sample_rate_hz
