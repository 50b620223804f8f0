"""YAMNet, a MobileNet v1 that tells the 521 sounds of AudioSet apart, as an embedder of 1024 dimensions.

The network is written from its public description (tensorflow/models, research/audioset/yamnet; Howard et al.,
"MobileNets", 2017) and loads the published weights with batch norm folded, an npz of arrays in TensorFlow's layout. Its
classifier is left out.
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foleyray.config import UserError
from foleyray.metrics.audioset import SAMPLE_RATE_HZ, LogMelPatches
from foleyray.metrics.embedder import Embedding, keep
from foleyray.pretrained.weights import WeightsFile
from foleyray.progress import Progress

WEIGHTS = WeightsFile(
    folder="yamnet",
    name="yamnet_weights.npz",
    num_bytes=4_036_114,
    sha256="5c8bb9a7f8d1346e40f968da6aed553c54afa1735121f823784e4b7777d67fef",
)
OFFSET, PATCH_HOP = 0.001, 48
LAYERS = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5, (2, 1024), (1, 1024))
"""(stride, channels out) of the separable layers 2 to 14."""
SILENT_COSINE = 0.9
PATCHES_AT_ONCE = 64
"""Bounds the memory of the first layers, and keeps them in a CPU's cache."""


class Conv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, then ReLU: an even axis at stride 2 is padded at its end alone."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        totals = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[:1:-1]]
        if any(totals):
            x = nn.functional.pad(x, [part for total in totals for part in (total // 2, total - total // 2)])
        return nn.functional.relu_(super().forward(x))


class Network(nn.Module):
    """Log-mel patches (N, 96, 64) -> embeddings (N, 1024), the mean of the last layer over its places; never negative."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("layer1", nn.Sequential(OrderedDict(conv=Conv(1, 32, 3, stride=2))))
        channels = 32
        for number, (stride, out) in enumerate(LAYERS, start=2):
            depthwise, pointwise = Conv(channels, channels, 3, stride=stride, groups=channels), Conv(channels, out, 1)
            self.add_module(f"layer{number}", nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=pointwise)))
            channels = out
        self.dim = channels

    def forward(self, patches: Tensor) -> Tensor:
        x = patches.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        for layer in self.children():
            x = layer(x)
        return x.mean(dim=(2, 3))


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """The arrays of an npz by name; raises UserError where it is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, BadZipFile, TypeError) as error:
        raise UserError(f"{path} does not read as an npz of arrays ({error}); fetch the file again") from None


def build_network(arrays: Mapping[str, NDArray[np.float32]]) -> Network:
    """The network with `layerN/<part>/{weight,bias}` in TensorFlow's layout: [1, 3, 3, C] where part is depthwise, else
    [out, kh, kw, in]. Raises UserError naming the array that is missing or of the wrong shape.
    """
    network = Network()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(_tensor(arrays, name.replace(".", "/"), parameter))
    return network.eval().requires_grad_(False)


def _tensor(arrays: Mapping[str, NDArray[np.float32]], name: str, parameter: Tensor) -> Tensor:
    """The array of that name in PyTorch's layout."""
    order = (0,) if parameter.ndim == 1 else (3, 0, 1, 2) if "/depthwise/" in name else (0, 3, 1, 2)
    expected = tuple(parameter.shape[order.index(axis)] for axis in range(parameter.ndim))
    if name not in arrays:
        raise UserError(f"YAMNet weights lack '{name}' {list(expected)}; found {len(arrays)} other arrays")
    found = arrays[name]
    if found.shape != expected or found.dtype != np.float32 or not np.isfinite(found).all():
        raise UserError(f"YAMNet's '{name}' is {found.dtype} {list(found.shape)}; finite float32 {list(expected)} is expected")
    return torch.from_numpy(found).permute(order)


class YamNet:
    """Patches of 0.96 s every 0.48 s, 8 for 4 s. The recipe `active` leaves silent patches out, `all` keeps them.

    Silence lies far from every sound (norm 73 against 7 to 17), so with padded clips the distances of `all` mostly
    compare how much silence there is. A patch is silent where its cosine with the patch of digital silence is above 0.9.
    """

    name = "yamnet"
    note = "compares with yamnet distances of the same recipe only, not with the VGGish FAD of the DCASE papers"
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, network: Network, recipe: str, weights_id: str, device: torch.device | str = "cpu") -> None:
        self.recipe, self.weights_id, self.device = recipe, weights_id, torch.device(device)
        self.network = network.to(self.device)
        self.dim = network.dim
        self.front = LogMelPatches(OFFSET, PATCH_HOP).to(self.device)
        with torch.inference_mode():
            self.silent = self._through(self.front(torch.zeros(1, 1, device=self.device))[:, 0])[0]

    @torch.inference_mode()
    def embed(self, wave: Tensor) -> Embedding:
        patches = self.front(wave.to(self.device))
        # Patches of digital silence need no network: their answer is known.
        sounding = (patches != self.front.silence).any(dim=3).any(dim=2)
        frames = self.silent.repeat(*sounding.shape, 1)
        if sounding.any():
            frames[sounding] = torch.cat([self._through(part) for part in patches[sounding].split(PATCHES_AT_ONCE)])
        likeness = nn.functional.cosine_similarity(frames, self.silent, dim=2)
        return Embedding(frames, keep(likeness, SILENT_COSINE if self.recipe == "active" else None))

    def _through(self, patches: Tensor) -> Tensor:
        # GPUs would round to 10 bits by default, which moves the embeddings by more than other implementations differ.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self.network(patches)


def build(recipe: str, weights: Path | None, device: torch.device | str, progress: Progress) -> YamNet:
    """The embedder with the published weights, found and verified as `pretrained.weights` says."""
    return YamNet(build_network(read_weights(WEIGHTS.locate(weights, progress))), recipe, WEIGHTS.id, device)
