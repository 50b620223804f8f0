"""CLAP score: how well sounds fit their class by name, in an embedding that hears and reads."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from foleyray.clips import spoken
from foleyray.evaluation.embedding import Listening
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.intervals import Measured, draws, measured
from foleyray.metrics.stats import Floats


def prompt(class_name: str) -> str:
    """What a class is called in a sentence: DogBark -> "This is a sound of dog bark." """
    return f"This is a sound of {spoken(class_name)}."


def clap_scores(
    generated: Mapping[str, ClipEmbeddings], listening: Listening, *, seed: int, resamples: int = 200
) -> dict[str, Measured]:
    """Class -> mean cosine of its clips to its prompt, with an interval by clip; empty for embedders that do not read."""
    if listening.embedder.partition(":")[0] != "clap":
        return {}
    embedder: Any = listening.find("cuda" if torch.cuda.is_available() else "cpu")
    texts = embedder.embed_text([prompt(name) for name in generated])
    found = {}
    for (name, clips), text in zip(generated.items(), texts, strict=True):
        weights = draws(clips.num_clips, resamples, seed)
        found[name] = measured(partial(_mean, clips.means() @ text), weights, -1, 1)
    return found


def _mean(fits: Floats, weights: Floats) -> Floats:
    """Cosines of the clips (N,), whose vectors are of unit length as the text's is, for each row of weights (R, N)."""
    return np.asarray(weights @ fits / weights.sum(axis=1))
