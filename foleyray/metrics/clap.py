"""CLAP as an embedder of 512 dimensions, one vector a clip, which also reads sentences for the CLAP score.

The network and what it hears of a clip: `pretrained.clap`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foleyray.config import UserError
from foleyray.metrics.embedder import Embedder, Embedding
from foleyray.pretrained.clap import PUBLISHED, WEIGHTS, PublishedClap, weights_file
from foleyray.pretrained.weights import search_folders
from foleyray.progress import Progress


class Clap:
    """The recipe `unfused` is the published model of `PUBLISHED`, `folder` whatever model lies in the folder `clap` below
    `--weights DIR`.
    """

    name = "clap"
    note = "compares with clap distances and scores of the same recipe and weights only, with none of the DCASE papers"

    def __init__(self, network: PublishedClap, recipe: str, device: torch.device | str) -> None:
        self.network, self.recipe, self.weights_id = network.to(device), recipe, network.weights_id
        self.sample_rate_hz, self.dim = network.sample_rate_hz, network.dim

    def embed(self, wave: Tensor) -> Embedding:
        clips = self.network.embed_audio(wave)
        return Embedding(clips[:, None], torch.ones(len(clips), 1, dtype=torch.bool, device=clips.device))

    def embed_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Sentences -> vectors float32 (N, D) of unit length, to be scored against those of clips.

        Raises UserError where the tokenizer is not whole, or knows none of the words of a text.
        """
        self.network.check_words(texts)
        return np.asarray(self.network.embed_text(texts).cpu().numpy())


def _given_folder(given: Path | None) -> Path:
    places = [place / "clap" for place in search_folders(given)]
    for place in places:
        if (place / "config.json").is_file():
            return place
    raise UserError(
        f"clap:folder needs a CLAP model in a folder 'clap', and no config.json lies in {' or '.join(map(str, places))}; put "
        f"one there, or name the folder above it by --weights DIR"
    )


def build(recipe: str, weights: Path | None, device: torch.device | str, progress: Progress) -> Embedder:
    """The embedder of one of the three recipes; `laion` is the package of that name (see `laion.py`)."""
    if recipe == "laion":
        from foleyray.metrics import laion

        return laion.build(recipe, weights, device, progress)
    # What was verified is read: another file beside it counts in the recipe `folder` alone.
    folder = PUBLISHED.locate(weights, progress) if recipe == "unfused" else _given_folder(weights)
    file = folder / WEIGHTS if recipe == "unfused" else weights_file(folder)
    return Clap(PublishedClap.open(folder, file), recipe, device)
