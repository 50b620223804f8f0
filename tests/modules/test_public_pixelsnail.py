"""Weights in the layout of the published baseline: written by hand here, and read back."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from foleyray.config import UserError
from foleyray.modules.pixelsnail import PixelSNAIL, PixelSNAILSettings
from foleyray.modules.public_pixelsnail import load_public
from tests.modules.priors import SMALL, grids, small

GRID, WORDS, CLASSES = (6, 10), 12, 3


def published(prior: PixelSNAIL) -> dict[str, Tensor]:
    """The weights of a network of ours under the baseline's names, module by module, with its unused network beside them."""
    found: dict[str, Tensor] = {"background": prior.background}

    def put(name: str, layer: torch.nn.Module) -> None:
        weight = layer.parametrizations.weight  # type: ignore[union-attr]
        found[f"{name}.weight_g"], found[f"{name}.weight_v"] = weight.original0, weight.original1  # type: ignore[union-attr]
        if layer.bias is not None:
            found[f"{name}.bias"] = layer.bias  # type: ignore[assignment]

    put("horizontal.conv.conv", prior.input.horizontal)
    put("vertical.conv.conv", prior.input.vertical)
    for index in range(4):
        layer = prior.condition.layers[index]  # type: ignore[index, union-attr]
        found[f"embedNet.blocks.{index}.weight"], found[f"embedNet.blocks.{index}.bias"] = layer.weight, layer.bias
    for b, block in enumerate(prior.blocks):
        for r, resblock in enumerate(block.resblocks):  # type: ignore[arg-type, union-attr]
            put(f"blocks.{b}.resblocks.{r}.conv1.conv.conv", resblock.conv1)
            put(f"blocks.{b}.resblocks.{r}.conv2.conv.conv", resblock.conv2)
            put(f"blocks.{b}.resblocks.{r}.condition.conv", resblock.condition)
        for name, part in (("key", block.key), ("query", block.query), ("out", block.out)):
            put(f"blocks.{b}.{name}_resblock.conv1.conv", part.conv1)  # type: ignore[union-attr]
            put(f"blocks.{b}.{name}_resblock.conv2.conv", part.conv2)  # type: ignore[union-attr]
        put(f"blocks.{b}.out_resblock.aux_conv.conv", block.out.beside)  # type: ignore[union-attr]
        for name in ("query", "key", "value"):
            put(f"blocks.{b}.causal_attention.{name}", getattr(block.attention, name))
    put("out.1.conv", prior.out)
    found["cond_resnet.blocks.0.conv.weight_v"] = torch.randn(4, WORDS, 3, 3)
    found["cond_resnet.blocks.1.conv1.conv.bias"] = torch.randn(4)
    return {name: value.detach().clone() for name, value in found.items()}


def load(file: Path, **changes: object) -> PixelSNAIL:
    return load_public(file, PixelSNAILSettings.model_validate(SMALL | changes), GRID, WORDS, CLASSES)


@pytest.mark.parametrize("wrapped", [True, False])
def test_published_weights_are_read_back(tmp_path: Path, wrapped: bool) -> None:
    prior, file = small(GRID, WORDS), tmp_path / "bottom_1400.pt"
    weights = published(prior)
    torch.save({"model": weights, "args": Namespace(lr=3e-4, hier="bottom")} if wrapped else weights, file)
    codes, labels = grids(prior, 3)
    assert torch.equal(load(file).eval().requires_grad_(False)(codes, labels), prior(codes, labels))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    file, weights = tmp_path / "bottom_1400.pt", published(small(GRID, WORDS))
    torch.save({"model": weights}, file)
    with pytest.raises(UserError, match=r"is \(.*\), where \(.*\) is expected"):
        load(file, channels=8)
    with pytest.raises(UserError, match="lacks"):
        load(file, resblocks=3)
    with pytest.raises(UserError, match="has unknown"):
        load(file, resblocks=1)
    torch.save({"model": weights | {"surprise": torch.zeros(1)}}, file)
    with pytest.raises(UserError, match="has unknown 1 weights, such as 'surprise'"):
        load(file)


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        load(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(UserError, match="no file of weights that can be read safely"):
        load(tmp_path / "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="no table of weights"):
        load(tmp_path / "list.pt")
    torch.save({"model": {"weight": Path("x")}}, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match="can be read safely"):
        load(tmp_path / "foreign.pt")
