"""VGGish, a VGG for AudioSet, as an embedder of 128 dimensions, in two recipes that do not compare with each other.

`t7` does what the evaluation tool of DCASE 2023 Task 7 does, `16k` what most later tools do. Written from the public
description (tensorflow/models, research/audioset/vggish; Hershey et al., 2017); loads TensorFlow's checkpoint or the port
to PyTorch, in both without the last ReLU, PCA and quantisation.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from foleyray.config import UserError
from foleyray.metrics.audioset import HOP, PATCH, SAMPLE_RATE_HZ, WINDOW, LogMelPatches
from foleyray.metrics.checkpoint_v1 import read_checkpoint
from foleyray.metrics.embedder import Embedding
from foleyray.pretrained.precision import full_precision
from foleyray.pretrained.tensors import content_id, load, read_pickled
from foleyray.pretrained.weights import WeightsFile
from foleyray.progress import Progress

CHECKPOINT = WeightsFile(
    folder="vggish",
    name="vggish_model.ckpt",
    num_bytes=288_600_000,
    md5="d1c7011e6366aa34176bb05c705e31a8",
    url="https://storage.googleapis.com/audioset/vggish_model.ckpt",
)
"""The original. Its publisher names no hash; this one is the md5 that OpenMIC-2018 checks. The size is that of the tensors."""
PORT = WeightsFile(
    folder="vggish",
    name="vggish-10086976.pth",
    num_bytes=288_600_000,
    sha256="10086976245803799d9194e9a73d9b6c1549c71d1b80106f5cade5608a561f4b",
    url="https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
)
"""The port to PyTorch; its name holds the first digits of its hash."""

OFFSET = 0.01
WIDTHS, HIDDEN, DIM = (64, 128, 256, 512), 4096, 128
VARIABLES = {
    "features.0": "conv1",
    "features.3": "conv2",
    "features.6": "conv3/conv3_1",
    "features.8": "conv3/conv3_2",
    "features.11": "conv4/conv4_1",
    "features.13": "conv4/conv4_2",
    "embeddings.0": "fc1/fc1_1",
    "embeddings.2": "fc1/fc1_2",
    "embeddings.4": "fc2",
}
"""Layers of the port -> scopes of the checkpoint, below `vggish/`."""
PATCHES_AT_ONCE = 32
T7_RATE_HZ, T7_WINDOW, T7_HOP = 22_050, 16_000, 8_000
T7_FLOOR = 0.1
"""Least divisor of the 16-bit samples, so that silence stays silence."""
NOTES = {
    "t7": "may be put beside the published DCASE 2023 Task 7 numbers, when the reference is the official statistics and there "
    "are 100 clips a class",
    "16k": "compares with vggish:16k distances only; the DCASE 2023 Task 7 numbers are those of vggish:t7",
}


class Network(nn.Module):
    """Log-mel patches (N, 96, 64) -> embeddings (N, dim), which may be negative. The widths are parameters for tests."""

    def __init__(self, widths: tuple[int, int, int, int] = WIDTHS, hidden: int = HIDDEN, dim: int = DIM) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width, repeats in zip(widths, (1, 1, 2, 2), strict=True):
            for _ in range(repeats):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        flat = 6 * 4 * channels
        self.embeddings = nn.Sequential(
            nn.Linear(flat, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, dim),
        )
        self.dim = dim

    def forward(self, patches: Tensor) -> Tensor:
        maps = self.features(patches.unsqueeze(1))
        # The dense layers were trained on TensorFlow's order (time, mel, channel), and the port kept it.
        embeddings: Tensor = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return embeddings


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors under the names and in the layout of the port, from either file; raises UserError where one is missing."""
    return from_checkpoint(path) if path.name == CHECKPOINT.name else read_pickled(path)


def from_checkpoint(path: Path) -> dict[str, Tensor]:
    """The variables of TensorFlow's checkpoint: kernels [kh, kw, in, out] and matrices [in, out], turned round."""
    variables, tensors = read_checkpoint(path), {}
    for layer, scope in VARIABLES.items():
        for ending, part in (("weight", "weights"), ("bias", "biases")):
            name = f"vggish/{scope}/{part}"
            if name not in variables:
                raise UserError(f"{path} lacks the variable '{name}'; found {len(variables)} others: fetch the file again")
            found = torch.from_numpy(variables[name])
            tensors[f"{layer}.{ending}"] = (
                found.permute(3, 2, 0, 1) if found.ndim == 4 else found.T if found.ndim == 2 else found
            )
    return tensors


def scaled(wave: Tensor) -> Tensor:
    """wave (B, T) in [-1, 1] as the tool hears it: 16-bit samples over their largest, signed and no less than 0.1.

    A clip whose negative peak is larger ends beyond -1. Rounding to 16 bits first makes floats what their file would hold.
    """
    pcm = (wave * 32768.0).round().clamp(-32768.0, 32767.0)
    return pcm / pcm.amax(dim=1, keepdim=True).clamp(min=T7_FLOOR)


def cut(wave: Tensor, window: int, hop: int) -> Tensor:
    """wave (B, T) without what lies behind the last patch of its last whole window; shorter than one, it stays as it is.

    Windows of 1 s hold 98 frames, of which the patch takes 96. Both hops are whole numbers of frames, so patches can be
    taken from the log-mel of the whole clip.
    """
    last = max((wave.shape[1] - window) // hop, 0)
    return wave[:, : last * hop + WINDOW + (PATCH - 1) * HOP]


class VGGish:
    """`t7`: windows of 16,000 samples every 8,000 of the wave at 22,050 Hz, which the network takes for one at 16,000 Hz:
    10 for 4 s. `16k`: patches of 0.96 s without overlap, 4 for 4 s. A clip shorter than one is completed with zeros.
    """

    name = "vggish"

    def __init__(self, network: Network, recipe: str, weights_id: str, device: torch.device | str = "cpu") -> None:
        self.recipe, self.weights_id, self.device = recipe, weights_id, torch.device(device)
        self.note, self.t7 = NOTES[recipe], recipe == "t7"
        self.sample_rate_hz = T7_RATE_HZ if self.t7 else SAMPLE_RATE_HZ
        self.network, self.dim = network.to(self.device), network.dim
        self.front = LogMelPatches(OFFSET, (T7_HOP // HOP) if self.t7 else PATCH).to(self.device)

    @torch.inference_mode()
    def embed(self, wave: Tensor) -> Embedding:
        wave = wave.to(self.device)
        with full_precision():
            if self.t7:
                patches = self.front(cut(scaled(wave), T7_WINDOW, T7_HOP))
            else:
                patches = self.front(cut(wave, WINDOW + (PATCH - 1) * HOP, PATCH * HOP))
            parts = torch.split(patches.flatten(0, 1), PATCHES_AT_ONCE)
            frames = torch.cat([self.network(part) for part in parts]).reshape(*patches.shape[:2], -1)
        return Embedding(frames, torch.ones(frames.shape[:2], dtype=torch.bool, device=self.device))


def build(recipe: str, weights: Path | None, device: torch.device | str, progress: Progress) -> VGGish:
    """The embedder with the published weights: TensorFlow's checkpoint where it is at hand, else the port, found or fetched.

    Both give the same `weights_id` where they hold the same numbers.
    """
    path = CHECKPOINT.find(weights) or PORT.locate(weights, progress)
    network = Network()
    load(network, read_weights(path), f"VGGish weights {path.name}")
    return VGGish(network, recipe, content_id(network), device)
