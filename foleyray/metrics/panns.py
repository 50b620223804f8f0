"""PANNs CNN14, a network that tags the 527 sounds of AudioSet, as an embedder of 2048 dimensions, one vector a clip.

Written from Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition" (2020),
section IV, with the names of the published weights. Their classifier is left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foleyray.config import UserError
from foleyray.metrics.embedder import Embedding
from foleyray.pretrained.decibels import MelDecibels
from foleyray.pretrained.precision import full_precision
from foleyray.pretrained.tensors import load, read_pickled
from foleyray.pretrained.weights import WeightsFile
from foleyray.progress import Progress

WEIGHTS = WeightsFile(
    folder="panns",
    name="Cnn14_mAP=0.431.pth",
    num_bytes=327_428_481,
    sha256="0dc499e40e9761ef5ea061ffc77697697f277f6a960894903df3ada000e34b31",
    url="https://zenodo.org/records/3987831/files/Cnn14_mAP%3D0.431.pth?download=1",
)
"""Zenodo names the md5 541141fa2ee191a88f24a3219fff024e; the sha256 of that file is the one that public users of it record."""

SAMPLE_RATE_HZ = 32_000
FFT, HOP, BANDS = 1024, 320, 64
WIDTHS, DIM = (64, 128, 256, 512, 1024, 2048), 2048
LEAST_SAMPLES = 31 * HOP
"""32 frames, which five halvings leave one of."""
CLIPS_AT_ONCE = 4
MEL = "logmel_extractor.melW"
FRONT = {
    "spectrogram_extractor.stft.conv_real.weight": [FFT // 2 + 1, 1, FFT],
    "spectrogram_extractor.stft.conv_imag.weight": [FFT // 2 + 1, 1, FFT],
    MEL: [FFT // 2 + 1, BANDS],
}
"""The front end inside the published file: a Fourier transform as convolutions, and the mel matrix, which is read."""


class Block(nn.Module):
    """Two convolutions with batch norm and ReLU, then a mean over `pool` x `pool` places."""

    def __init__(self, channels: int, width: int, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu_(self.bn1(self.conv1(x)))
        x = nn.functional.relu_(self.bn2(self.conv2(x)))
        return nn.functional.avg_pool2d(x, self.pool) if self.pool > 1 else x


class Network(nn.Module):
    """Mel decibels (N, frames, 64) -> embeddings (N, dim), never negative. The widths are parameters for tests."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, dim: int = DIM) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(BANDS)
        for number, (channels, width) in enumerate(zip((1, *widths), widths, strict=False), start=1):
            self.add_module(f"conv_block{number}", Block(channels, width, pool=1 if number == len(widths) else 2))
        self.fc1 = nn.Linear(widths[-1], dim)
        self.dim = dim

    def forward(self, decibels: Tensor) -> Tensor:
        # Normalised by band, so bands stand where batch norm expects channels.
        x = self.bn0(decibels[:, None].transpose(1, 3)).transpose(1, 3)
        for name, block in self.named_children():
            if name.startswith("conv_block"):
                x = block(x)
        x = x.mean(dim=3)
        return nn.functional.relu_(self.fc1(x.amax(dim=2) + x.mean(dim=2)))


def read_weights(path: Path) -> tuple[dict[str, Any], Tensor]:
    """The tensors of the network by name, and the mel matrix (513, 64); raises UserError where the file is another one."""
    content = read_pickled(path)
    tensors = content.get("model")
    if not isinstance(tensors, Mapping):
        raise UserError(f"{path} holds no 'model', only {', '.join(map(str, content)) or 'nothing'}; fetch the file again")
    for name, expected in FRONT.items():
        found = list(tensors[name].shape) if name in tensors else "missing"
        if found != expected:
            raise UserError(f"PANNs weights {path.name}: '{name}' is {found}, {expected} is expected; fetch the file again")
    network = {name: tensor for name, tensor in tensors.items() if name not in FRONT and not name.startswith("fc_audioset.")}
    return network, tensors[MEL].float()


class Panns:
    """One vector for a clip of any length; one shorter than 0.31 s is completed with zeros."""

    name = "panns"
    note = "compares with panns distances only, with none of the DCASE papers"
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, network: Network, mel: Tensor, recipe: str, weights_id: str, device: torch.device | str = "cpu") -> None:
        self.recipe, self.weights_id, self.device = recipe, weights_id, torch.device(device)
        self.network, self.dim = network.to(self.device), network.dim
        self.front = MelDecibels(mel, HOP).to(self.device)

    @torch.inference_mode()
    def embed(self, wave: Tensor) -> Embedding:
        wave = nn.functional.pad(wave.to(self.device), (0, max(LEAST_SAMPLES - wave.shape[1], 0)))
        with full_precision():
            clips = torch.cat([self.network(self.front(part)) for part in torch.split(wave, CLIPS_AT_ONCE)])
        return Embedding(clips[:, None], torch.ones(len(clips), 1, dtype=torch.bool, device=self.device))


def build(recipe: str, weights: Path | None, device: torch.device | str, progress: Progress) -> Panns:
    """The embedder with the published weights, found or fetched, and verified, as `pretrained.weights` says."""
    tensors, mel = read_weights(WEIGHTS.locate(weights, progress))
    network = Network()
    load(network, tensors, f"PANNs weights {WEIGHTS.name}")
    return Panns(network, mel, recipe, WEIGHTS.id, device)
