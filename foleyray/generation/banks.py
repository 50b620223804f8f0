"""Banks on disk: the vectors of real clips against which candidates are scored."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from foleyray.config import UserError

UNIT = 1e-3
"""By which the length of a vector may differ from 1."""


def read_bank(file: Path) -> Tensor:
    """float32 (N, D) of unit length; raises UserError where the file is missing or holds something else."""
    try:
        tensors = load_file(file)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"no bank of targets at '{file}'; copy the ensemble's whole folder, or promote it again") from None
    except SafetensorError as error:
        raise UserError(
            f"{file} is not a whole safetensors file ({error}); copy it anew, or promote the ensemble again"
        ) from None
    vectors = tensors.get("vectors")
    if vectors is None or vectors.ndim != 2 or vectors.dtype != torch.float32:
        found = {name: (str(tensor.dtype), list(tensor.shape)) for name, tensor in tensors.items()}
        raise UserError(f"{file} holds {found}; a bank has one tensor 'vectors', float32 (N, D); promote the ensemble again")
    lengths = vectors.norm(dim=1)
    if not bool(((lengths - 1).abs() < UNIT).all()):
        raise UserError(
            f"{file} has vectors of lengths {float(lengths.min()):g} to {float(lengths.max()):g}, those of a bank have "
            "length 1; promote the ensemble again"
        )
    return vectors
