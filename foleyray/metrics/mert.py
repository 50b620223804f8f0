"""MERT, a transformer that was taught to predict masked music, as an embedder of 768 dimensions.

Li et al., "MERT: Acoustic Music Understanding Model with Large-Scale Self-supervised Training" (2023). Its 95 M model is a
HuBERT of the base size that hears 24 kHz, so the weights are put into transformers' own class and no code is fetched. The
weights may not be used commercially (CC BY-NC 4.0).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import HubertConfig, HubertModel

from foleyray.metrics.embedder import Embedding
from foleyray.pretrained.hub import HubModel
from foleyray.pretrained.precision import full_precision
from foleyray.pretrained.tensors import load, read_pickled
from foleyray.pretrained.weights import WeightsFile
from foleyray.progress import Progress

WEIGHTS = WeightsFile(
    folder="mert",
    name="pytorch_model.bin",
    num_bytes=377_552_987,
    sha256="a2b8b747f72c06e0595aeae41ae5473f4364938c6b39b2c58be38c48e6bd3fcd",
)
MODEL = HubModel("m-a-p/MERT-v1-95M", "12af15fef9d0ac838c3f475bfbbf26d2060dd4f5", (WEIGHTS,))

SAMPLE_RATE_HZ = 24_000
LEAST_SAMPLES = 400
"""What one frame hears; the next begins 320 later."""
CLIPS_AT_ONCE = 4
RENAMED = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
"""Weight norm as older PyTorch named it -> as it is named now."""


def build_network(tensors: dict[str, Any], what: str, config: HubertConfig) -> HubertModel:
    """The network with the published tensors; raises UserError naming one that does not fit."""
    network = HubertModel(config)
    load(network, {_renamed(name): tensor for name, tensor in tensors.items()}, what)
    return network


def _renamed(name: str) -> str:
    stem, _, last = name.rpartition(".")
    return f"{stem}.{RENAMED[last]}" if last in RENAMED else name


class Mert:
    """The recipe `last`: frames of the last layer, 75 a second (299 for 4 s), of the clip at zero mean and unit variance."""

    name = "mert"
    note = "learnt from music, so it may be deaf to much of foley; compares with mert distances only"
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, network: HubertModel, recipe: str, weights_id: str, device: torch.device | str = "cpu") -> None:
        self.recipe, self.weights_id, self.device = recipe, weights_id, torch.device(device)
        self.network, self.dim = nn.Module.to(network, self.device), int(network.config.hidden_size)

    @torch.inference_mode()
    def embed(self, wave: Tensor) -> Embedding:
        wave = nn.functional.pad(wave.to(self.device), (0, max(LEAST_SAMPLES - wave.shape[1], 0)))
        spread, mean = torch.var_mean(wave, dim=1, correction=0, keepdim=True)
        with full_precision():
            parts = torch.split((wave - mean) / (spread + 1e-7).sqrt(), CLIPS_AT_ONCE)
            frames = torch.cat([self.network(part).last_hidden_state for part in parts])
        return Embedding(frames, torch.ones(frames.shape[:2], dtype=torch.bool, device=self.device))


def build(recipe: str, weights: Path | None, device: torch.device | str, progress: Progress) -> Mert:
    """The embedder with the published weights, found or fetched, and verified, as `pretrained.hub` says."""
    path = MODEL.locate(weights, progress) / WEIGHTS.name
    # The defaults are HuBERT base, of which the published config.json is a copy.
    network = build_network(read_pickled(path), f"MERT weights {path.name}", HubertConfig())
    return Mert(network, recipe, WEIGHTS.id, device)
