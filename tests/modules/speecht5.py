"""A small SpeechT5HifiGan, written into a folder by transformers itself."""

from pathlib import Path
from typing import Any

import torch
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from foleyray.modules.hifigan import HiFiGANLayout

LAYOUT = HiFiGANLayout(channels=8, rates=(8, 4, 2), kernels=(16, 9, 4), residual_kernels=(3, 5), dilations=((1, 3), (1, 2)))
"""64 samples a frame; the odd kernel adds some at the end, as AudioLDM's does."""


def published(folder: Path, *, rate_hz: int, bands: int, layout: HiFiGANLayout = LAYOUT, **changes: Any) -> SpeechT5HifiGan:
    """The network that was saved; its weights are random, and large enough for a wave that is no rounding."""
    config = SpeechT5HifiGanConfig(
        model_in_dim=bands,
        sampling_rate=rate_hz,
        upsample_initial_channel=layout.channels,
        upsample_rates=layout.rates,
        upsample_kernel_sizes=layout.kernels,
        resblock_kernel_sizes=layout.residual_kernels,
        resblock_dilation_sizes=layout.dilations,
        **({"normalize_before": False} | changes),
    )
    network = SpeechT5HifiGan(config).eval()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=draws).abs() * 0.1 if tensor.ndim < 2 else _drawn(tensor, draws))
    network.save_pretrained(folder)
    return network


def _drawn(tensor: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    return torch.randn(tensor.shape, generator=draws) / tensor[0].numel() ** 0.5
