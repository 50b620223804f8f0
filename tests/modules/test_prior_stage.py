"""The prior's stage: its cross-entropy, what it begins with, and grids that do not fit."""

from math import log

import pytest
import torch

from foleyray.config import UserError
from foleyray.modules.pixelsnail import PixelSNAILSettings
from foleyray.modules.prior_stage import PriorSettings, PriorStage
from foleyray.stage import Step
from tests.modules.priors import SMALL, grids, small
from tests.modules.test_public_pixelsnail import published

GRID, WORDS, CLASSES = (6, 10), 12, 3


def stage(**settings) -> PriorStage:
    network = PixelSNAILSettings.model_validate(SMALL)
    return PriorStage(PriorSettings(network=network, **settings), GRID, WORDS, CLASSES)


def step() -> Step:
    return Step(0, 1, torch.Generator().manual_seed(0))


def test_the_loss_is_in_nats_a_place():
    nets = stage().build({}).eval()
    with torch.no_grad():
        for weight in nets["prior"].out.parameters():
            weight.zero_()
        # No direction has no length: what is left of the output is its bias, a uniform guess.
        nets["prior"].out.parametrizations.weight.original1.fill_(1)
    codes, labels = grids(small(GRID, WORDS), 4)
    losses = stage().validate(nets, {"codes": codes, "label": labels}, step())
    assert losses["loss"].item() == pytest.approx(log(WORDS), abs=1e-5)


def test_training_begins_with_published_weights(tmp_path):
    source = small(GRID, WORDS)
    torch.save({"model": published(source)}, tmp_path / "prior.pt")
    codes, labels = grids(source, 3)
    nets = stage(start=tmp_path / "prior.pt").build({}).eval()
    with torch.no_grad():
        torch.testing.assert_close(nets["prior"](codes, labels), source(codes, labels))
    assert all(parameter.requires_grad for parameter in nets["prior"].parameters())
    with pytest.raises(UserError, match="no file"):
        stage(start=tmp_path / "missing.pt").build({})


def test_codes_of_another_grid_are_caught():
    codes, labels = grids(small(GRID, WORDS), 2)
    with pytest.raises(AssertionError, match=r"grid is \(6, 10\)"):
        stage().loss("prior", stage().build({}), {"codes": codes.transpose(1, 2), "label": labels}, step())
