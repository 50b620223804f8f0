"""PixelSNAIL: its published size, what it may see, its condition, and that it can learn grids by heart."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from foleyray.config import UserError
from foleyray.modules.pixelsnail import Attention, CausalConv2d, ConditionMap, PixelSNAIL, PixelSNAILSettings
from foleyray.modules.prior_stage import PriorSettings, PriorStage
from foleyray.modules.rows import RowSampler
from foleyray.stage import Step
from tests.modules.priors import SMALL, grids, made, small

PAPER = (20, 86)
CORNERS = ((0, 0), (0, 85), (19, 85), (9, 40))


@pytest.mark.slow
def test_paper_size_is_exact() -> None:
    with torch.device("meta"):
        prior = PixelSNAIL(PixelSNAILSettings(), PAPER, 512, 7)
    assert sum(weight.numel() for weight in prior.parameters()) == 96_823_032


def _check_causality(prior: PixelSNAIL, places: tuple[tuple[int, int], ...]) -> None:
    """Changing a word changes no logits at its place or before, and some behind it."""
    codes, labels = grids(prior, 1)
    with torch.no_grad():
        before = prior(codes, labels)
        for row, col in places:
            other, place = codes.clone(), row * prior.grid[1] + col
            other[0, row, col] = (other[0, row, col] + 1) % prior.words
            is_changed = (prior(other, labels) != before).any(dim=1).flatten()
            assert not is_changed[: place + 1].any()
            assert is_changed[place + 1 :].any() == (place + 1 < len(is_changed))


@pytest.mark.parametrize("condition", ["map", "vector"])
def test_no_word_is_seen_before_its_place(condition: str) -> None:
    _check_causality(small(PAPER, words=32, condition=condition), CORNERS)


@pytest.mark.slow
def test_no_word_is_seen_before_its_place_at_paper_size() -> None:
    _check_causality(made(PixelSNAILSettings(), PAPER, 512, 7), CORNERS)


@pytest.mark.parametrize("kernel", [(5, 5), (3, 5), (7, 3)])
def test_gradients_reach_earlier_places_only(kernel: tuple[int, int]) -> None:
    prior = small((4, 5), kernel=kernel)
    codes, labels = grids(prior, 1)
    # The rows looked up in the table of words are what a one-hot word would select: one for each tap at each place.
    looked_up: list[torch.Tensor] = []
    table = prior.input.table().requires_grad_()
    indices = prior.input.indices(codes)

    def softly(_: nn.Module, __: object, ___: object) -> torch.Tensor:
        looked_up.append(table[indices].requires_grad_())
        found = looked_up[0].sum(dim=3) + prior.input.bias(*prior.grid)
        return found.permute(0, 3, 1, 2)

    prior.input.register_forward_hook(softly)
    logits = prior(codes, labels).flatten(2)
    for place in range(logits.shape[2]):
        (gradient,) = torch.autograd.grad(logits[0, :, place].square().sum(), looked_up[0], retain_graph=True)
        for (row, col, tap), size in _sizes(gradient):
            up, right = prior.input.taps[tap]
            seen_row, seen_col = row - up, col + right
            is_inside = seen_row >= 0 and 0 <= seen_col < prior.grid[1]
            if is_inside and seen_row * prior.grid[1] + seen_col >= place:
                assert size == 0
        if place:
            assert gradient.abs().sum() > 0


def _sizes(gradient: torch.Tensor) -> list[tuple[tuple[int, int, int], float]]:
    sizes = gradient[0].abs().sum(dim=-1)
    return [((int(r), int(c), int(t)), sizes[r, c, t].item()) for r, c, t in torch.nonzero(torch.ones_like(sizes))]


@pytest.mark.parametrize("kernel", [(5, 5), (3, 5), (7, 3)])
def test_looking_words_up_is_the_convolution_of_one_hot_words(kernel: tuple[int, int]) -> None:
    prior = small(kernel=kernel)
    codes, _ = grids(prior, 2)
    (rows, cols), (height, width) = prior.grid, kernel
    one_hot = F.one_hot(codes, prior.words).permute(0, 3, 1, 2).float()
    above, left = prior.input.horizontal, prior.input.vertical
    seen_above = F.conv2d(F.pad(one_hot, (width // 2, width // 2, height // 2 - 1, 0)), above.weight, above.bias)
    seen_left = F.conv2d(F.pad(one_hot, (width // 2 - 1, 0, (height + 1) // 2 - 1, 0)), left.weight, left.bias)
    expected = F.pad(seen_above, (0, 0, 1, 0))[:, :, :rows] + F.pad(seen_left, (1, 0))[:, :, :, :cols]
    torch.testing.assert_close(prior.input(codes), expected, atol=1e-6, rtol=0)


def test_dead_taps_stay_dead_while_the_network_learns() -> None:
    torch.manual_seed(0)
    conv = CausalConv2d(4, 6, (5, 5))
    optimizer = torch.optim.SGD(conv.parameters(), lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        conv(torch.randn(2, 4, 6, 7)).square().sum().backward()
        optimizer.step()
    weight, direction = conv.weight, conv.parametrizations.weight.original1
    assert (weight[:, :, -1, 2:] == 0).all() and (weight[:, :, -1, :2] != 0).all() and (weight[:, :, :-1] != 0).all()
    norms = weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, conv.parametrizations.weight.original0.flatten().abs())
    assert (direction[:, :, -1, 2:] != 0).all()


def test_attention_is_the_masked_softmax_with_zeros_at_the_first_place() -> None:
    torch.manual_seed(0)
    attention = Attention(6, 10, heads=2, width=4, dropout=0.1).eval()
    queries, keys = torch.randn(3, 6, 4, 5), torch.randn(3, 10, 4, 5)

    def heads(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return layer(x.flatten(2).transpose(1, 2)).view(3, 20, 2, 4).transpose(1, 2)

    scores = heads(attention.query, queries) @ heads(attention.key, keys).transpose(2, 3) / 2
    is_earlier = torch.ones(20, 20).tril(-1).bool()
    shares = scores.masked_fill(~is_earlier, -1e4).softmax(-1) * is_earlier.any(1)[:, None]
    expected = (shares @ heads(attention.value, keys)).transpose(1, 2).reshape(3, 20, 8).transpose(1, 2).view(3, 8, 4, 5)
    found = attention(queries, keys)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert (found[:, :, 0, 0] == 0).all()


@pytest.mark.parametrize("condition", ["map", "vector"])
def test_the_class_is_heard_at_every_place(condition: str) -> None:
    prior = small(condition=condition)
    codes, _ = grids(prior, 1)
    first, second = (prior(codes, torch.tensor([label])) for label in (0, 2))
    assert (first != second).any(dim=1).all()


def test_the_map_is_linear_layers_on_the_one_hot_label() -> None:
    torch.manual_seed(0)
    condition = ConditionMap(3, 8, (4, 5))
    weights = [layer.weight for layer in condition.layers]
    whole = weights[3] @ weights[2] @ weights[1] @ weights[0]
    made_maps = condition(torch.tensor([0, 1, 2]))
    assert made_maps.shape == (3, 1, 4, 5)
    torch.testing.assert_close((made_maps[2] - made_maps[0]).flatten(), whole[:, 2] - whole[:, 0], atol=1e-6, rtol=1e-4)


def test_the_first_rows_alone_have_the_same_logits() -> None:
    prior = small()
    codes, labels = grids(prior, 2)
    torch.testing.assert_close(prior(codes[:, :3], labels), prior(codes, labels)[:, :, :3], atol=1e-6, rtol=1e-5)


def test_a_transposed_grid_is_caught() -> None:
    prior = small()
    codes, labels = grids(prior, 1)
    with pytest.raises(AssertionError, match="on a grid of"):
        prior(codes.transpose(1, 2), labels)


def test_even_kernels_are_refused() -> None:
    with pytest.raises(UserError, match="odd"):
        PixelSNAILSettings.parse({"kernel": (4, 5)}, "prior.yaml")


def _stage(grid: tuple[int, int], words: int, rate: float = 3e-4, **changes: object) -> PriorStage:
    settings = PriorSettings.model_validate({"network": SMALL | changes, "learning_rate": rate})
    return PriorStage(settings, grid, words, 3)


def test_validation_knows_no_dropout_and_begins_near_a_uniform_guess() -> None:
    torch.manual_seed(0)
    stage = _stage((6, 10), 12, dropout=0.5)
    nets, step = stage.build({}), Step(0, 10, torch.Generator().manual_seed(0))
    codes, labels = grids(nets["prior"], 4)  # type: ignore[arg-type]
    batch = {"codes": codes, "label": labels}
    nets.eval()
    first, second = (stage.validate(nets, batch, step) for _ in range(2))
    assert first["loss"] == second["loss"] and 0 <= first["accuracy"] <= 1
    assert first["loss"].item() == pytest.approx(torch.tensor(12.0).log().item(), abs=0.3)
    nets.train()
    assert stage.loss("prior", nets, batch, step)["loss"] != stage.loss("prior", nets, batch, step)["loss"]


@pytest.mark.slow
def test_grids_are_learnt_by_heart_and_come_back_for_their_class() -> None:
    """One grid a class cannot be drawn at temperature 0 unless the class says which; eight grids are eight classes."""
    torch.manual_seed(0)
    grid, words = (4, 8), 16
    settings = PriorSettings.model_validate({"network": SMALL | {"dropout": 0, "attention_dropout": 0}, "learning_rate": 1e-2})
    stage = PriorStage(settings, grid, words, num_classes=8)
    nets, step = stage.build({}), Step(0, 1, torch.Generator().manual_seed(0))
    batch = {"codes": torch.randint(words, (8, *grid)), "label": torch.arange(8)}
    optimizer = stage.optimizer("prior", nets)
    for _ in range(500):
        loss = stage.loss("prior", nets, batch, step)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.005:
            break
    nets.eval()
    assert stage.validate(nets, batch, step)["loss"] < 0.1
    prior = nets["prior"]
    assert isinstance(prior, PixelSNAIL)
    drawn = RowSampler(prior, torch.device("cpu")).sample(batch["label"], [0.0] * 8, [words] * 8, [1.0] * 8, list(range(8)))
    assert torch.equal(drawn, batch["codes"])
