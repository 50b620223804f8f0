"""Reading the weights that the DCASE 2023 Task 7 baseline publishes for its PixelSNAIL."""

from argparse import Namespace
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from foleyray.config import UserError
from foleyray.modules.pixelsnail import PixelSNAIL, PixelSNAILSettings, Size

UNUSED = "cond_resnet."
"""A network for conditions made of codes, which the baseline builds and never runs."""
PARTS = (
    ("input.horizontal.", "horizontal.conv.conv."),
    ("input.vertical.", "vertical.conv.conv."),
    ("condition.layers.", "embedNet.blocks."),
    ("out.", "out.1.conv."),
)
WITHIN = {"key": "key_resblock", "query": "query_resblock", "attention": "causal_attention", "out": "out_resblock"}
LAYERS = {"conv1": "conv1.conv", "conv2": "conv2.conv", "beside": "aux_conv.conv", "condition": "condition.conv"}
TENSORS = (("parametrizations.weight.original0", "weight_g"), ("parametrizations.weight.original1", "weight_v"))


def load_public(file: Path, settings: PixelSNAILSettings, grid: Size, words: int, num_classes: int) -> PixelSNAIL:
    """The network of a published file.

    Raises UserError where the file is not there, is no such file, or holds weights of other names or sizes than asked for.
    """
    found, prior = _read(file), PixelSNAIL(settings, grid, words, num_classes)
    wanted = {_public_name(name): name for name in prior.state_dict()}
    found = {name: value for name, value in found.items() if not name.startswith(UNUSED)}
    for names, mistake in ((wanted.keys() - found.keys(), "lacks"), (found.keys() - wanted.keys(), "has unknown")):
        if names:
            raise UserError(
                f"{file} {mistake} {len(names)} weights, such as '{min(names)}'; expected are the baseline's PixelSNAIL and "
                f"settings of its sizes, with a condition of kind 'map'"
            )
    own = prior.state_dict()
    for name, value in found.items():
        if value.shape != own[wanted[name]].shape:
            raise UserError(
                f"'{name}' in {file} is {tuple(value.shape)}, where {tuple(own[wanted[name]].shape)} is expected; "
                f"give the settings, grid, words and classes it was trained with"
            )
    prior.load_state_dict({wanted[name]: value for name, value in found.items()})
    return prior


def _read(file: Path) -> dict[str, Tensor]:
    try:
        # The published files hold the arguments of their training beside the weights.
        with torch.serialization.safe_globals([Namespace]):
            document = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no file '{file}'; expected are the weights of a PixelSNAIL, as the baseline publishes them") from None
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{file} is no file of weights that can be read safely: {str(error).splitlines()[0]}") from None
    weights = document.get("model", document) if isinstance(document, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{file} holds no table of weights; expected are those of a PixelSNAIL, as the baseline publishes them")
    return weights


def _public_name(name: str) -> str:
    """Of a weight of ours, what it is called in the published files."""
    for ours, theirs in TENSORS:
        name = name.replace(ours, theirs)
    for ours, theirs in PARTS:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    if not name.startswith("blocks."):
        return name
    _, block, part, *rest = name.split(".")
    is_causal = part == "resblocks"
    place = [part, rest.pop(0)] if is_causal else [WITHIN[part]]
    layer = rest.pop(0)
    if part != "attention":
        # A causal convolution lies one level deeper, behind its padding.
        layer = LAYERS[layer] + (".conv" if is_causal and layer.startswith("conv") else "")
    return ".".join(["blocks", block, *place, layer, *rest])
