"""CLAP by the package `laion-clap`, the second way to it: the recipe `laion` of the embedder `clap`.

The package is an extra and is imported here alone. Its own loader would run code out of the checkpoint, so the tensors are
read as data and put into its network.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar
from numpy.typing import NDArray
from torch import Tensor

from foleyray.config import UserError
from foleyray.metrics.embedder import Embedding
from foleyray.pretrained.hub import HubModel
from foleyray.pretrained.precision import full_precision
from foleyray.pretrained.tensors import load, read_pickled
from foleyray.pretrained.weights import WeightsFile
from foleyray.progress import Progress

WEIGHTS = WeightsFile(
    folder="clap",
    name="630k-audioset-best.pt",
    num_bytes=1_863_587_645,
    sha256="8053c9775516af2f4902e1e8281e356cc1bf7a85e8b761908170767b77c3f037",
)
MODEL = HubModel("lukewys/laion_clap", "main", (WEIGHTS,))
SAMPLE_RATE_HZ, NUM_SAMPLES, DIM = 48_000, 480_000, 512
LEAST_TOKENS = 1_000
CLIPS_AT_ONCE = 4
NUMPY_VALUES = [
    *(scalar, (scalar, "numpy.core.multiarray.scalar")),
    *(np.dtype, type(np.dtype("float64")), type(np.dtype("int64"))),
]
"""The training record beside the tensors holds numpy's numbers, under the name of their module before numpy 2 or since."""


class Laion:
    """As `Clap`: vectors of unit length, of the first 10 s, shorter clips repeated."""

    name = "clap"
    note = "compares with clap:laion distances and scores only, with none of the DCASE papers"
    sample_rate_hz = SAMPLE_RATE_HZ
    dim = DIM

    def __init__(self, module: Any, recipe: str, weights_id: str, device: torch.device | str) -> None:
        self.module, self.recipe, self.weights_id, self.device = module, recipe, weights_id, torch.device(device)

    @torch.inference_mode()
    def embed(self, wave: Tensor) -> Embedding:
        parts = torch.split(wave[:, :NUM_SAMPLES].to(self.device), CLIPS_AT_ONCE)
        with full_precision():
            clips = torch.cat([self.module.get_audio_embedding_from_data(x=part, use_tensor=True) for part in parts])
        clips = torch.nn.functional.normalize(clips, dim=1)
        return Embedding(clips[:, None], torch.ones(len(clips), 1, dtype=torch.bool, device=clips.device))

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Sentences -> vectors float32 (N, D) of unit length; raises UserError where the package's tokenizer is a stub."""
        if len(self.module.tokenize) < LEAST_TOKENS:
            raise UserError(
                f"laion-clap's tokenizer knows {len(self.module.tokenize)} tokens, some 50,000 are expected: roberta-base was "
                f"not there when the package was imported; fetch it with the hub online, or use clap:unfused"
            )
        # The package squeezes the batch away for a single text, so it gets two.
        vectors = self.module.get_text_embedding([*texts, ""], use_tensor=True)[: len(texts)]
        return np.asarray(torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy())


def read_weights(path: Path) -> dict[str, Tensor]:
    """The floating-point tensors of a checkpoint of the package; raises UserError where it is something else."""
    content = read_pickled(path, NUMPY_VALUES).get("state_dict")
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no 'state_dict'; fetch the file again")
    return {name.removeprefix("module."): tensor for name, tensor in content.items() if tensor.is_floating_point()}


def build(recipe: str, weights: Path | None, device: torch.device | str, progress: Progress) -> Laion:
    """The embedder with the published weights; raises UserError where the package or they are missing."""
    if find_spec("laion_clap") is None:
        raise UserError(
            "clap:laion needs the package laion-clap, which is not installed; install the extra by 'uv sync --extra clap', or "
            "use clap:unfused, which needs no package"
        )
    path = MODEL.locate(weights, progress)
    # Importing it asks the hub for three tokenizers, for minutes where the hub is out of reach and HF_HUB_OFFLINE is not set.
    module = import_module("laion_clap").CLAP_Module(enable_fusion=False, device=torch.device(device))
    load(module.model, read_weights(path / WEIGHTS.name), f"LAION CLAP weights {WEIGHTS.name}")
    return Laion(module, recipe, WEIGHTS.id, device)
