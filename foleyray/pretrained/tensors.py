"""Files of tensors by name: read without running any code of theirs, put into a network with every shape checked."""

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from foleyray.config import UserError


def read_pickled(path: Path, allowed: Sequence[Any] = ()) -> dict[str, Any]:
    """What `torch.save` wrote, tensors and plain values only, and what is `allowed` beside them.

    Raises UserError where it is something else.
    """
    try:
        with torch.serialization.safe_globals(list(allowed)):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} does not read as PyTorch weights: it holds more than tensors and plain values, or is no such "
            f"file at all; fetch the file again"
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path} does not read as PyTorch weights ({reason}); fetch the file again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {type(content).__name__}; a dict of tensors by name is expected: fetch the file again")
    return content


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; raises UserError where it is none."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} does not read as safetensors ({error}); fetch the file again") from None


def load(network: nn.Module, found: Mapping[str, Any], what: str) -> None:
    """Copies tensors into parameters and buffers of the same names, floats as float32; then for listening only.

    Integer buffers that the network counts by itself may be there or not. Raises UserError naming the first tensor that is
    missing, unknown, of another shape, or not finite.
    """
    targets = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    counted = set(network.state_dict()) - set(targets)
    unknown = sorted(set(found) - set(targets) - counted)
    if unknown:
        raise UserError(f"{what} hold '{unknown[0]}', which this network has no place for; other weights are expected")
    for name, target in targets.items():
        _check(name, found.get(name), list(target.shape), what)
    network.load_state_dict({name: found[name] for name in targets}, strict=False)
    network.eval().requires_grad_(False)


def _check(name: str, tensor: Any, expected: list[int], what: str) -> None:
    if not isinstance(tensor, Tensor):
        raise UserError(f"{what} lack '{name}' {expected}; other weights are expected")
    if list(tensor.shape) != expected or not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise UserError(f"'{name}' of {what} is {kind} {list(tensor.shape)}; floats {expected} are expected")
    if not tensor.isfinite().all():
        raise UserError(f"'{name}' of {what} holds values that are not finite; fetch the file again")


def content_id(network: nn.Module) -> str:
    """8 hex digits of all floating-point weights, the same whatever kind of file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if tensor.is_floating_point():
            digest.update(name.encode())
            digest.update(memoryview(tensor.cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()[:8]
