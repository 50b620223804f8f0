"""The cached sampler: the plain network's logits, the plain sampler's grids, and one grid for one seed in any company."""

import pytest
import torch
from torch import Tensor

from foleyray.config import UserError
from foleyray.modules.draws import Draws
from foleyray.modules.pixelsnail import PixelSNAIL, PixelSNAILSettings
from foleyray.modules.row_weights import convolve, packed
from foleyray.modules.rows import RowSampler
from tests.modules.priors import grids, made, plain_sample, small

CPU = torch.device("cpu")


def sample(sampler: RowSampler, labels: Tensor, seeds: list[int], **settings: float) -> Tensor:
    count, words = len(seeds), sampler.weights.words
    values = {"temperature": 1.0, "top_k": words, "top_p": 1.0} | settings
    return sampler.sample(labels, *([values[name]] * count for name in values), seeds)  # type: ignore[arg-type, list-item]


def worst(prior: PixelSNAIL, count: int, seed: int = 0, precision: str = "float32") -> float:
    """The largest difference of a logit between the cached sampler and the network."""
    codes, labels = grids(prior, count, seed)
    with torch.no_grad():
        plain = torch.cat([prior(codes[item : item + 1], labels[item : item + 1]) for item in range(count)])
    assert plain.std() > 0.2, "logits too alike to tell anything"
    return (RowSampler(prior, CPU, precision).logits(codes, labels) - plain).abs().max().item()  # type: ignore[arg-type]


@pytest.mark.parametrize("condition", ["map", "vector"])
@pytest.mark.parametrize(("grid", "kernel"), [((6, 10), (5, 5)), ((5, 7), (3, 5)), ((3, 9), (7, 3)), ((1, 1), (5, 5))])
def test_logits_are_those_of_the_network(condition: str, grid: tuple[int, int], kernel: tuple[int, int]) -> None:
    prior = small(grid, condition=condition, kernel=kernel)
    assert worst(prior, 3) < 1e-5


@pytest.mark.slow
def test_logits_are_those_of_the_network_at_paper_size() -> None:
    prior = made(PixelSNAILSettings(), (20, 86), 512, 7)
    assert max(worst(prior, 1, seed) for seed in range(3)) < 1e-4


def test_grids_are_those_of_the_plain_sampler() -> None:
    prior = small((6, 10))
    labels, seeds = torch.tensor([0, 1, 2, 0]), [3, 4, 5, 6]
    settings = {"temperature": [1.0, 0.8, 1.1, 0.0], "top_k": [12, 5, 12, 12], "top_p": [1.0, 0.95, 0.7, 1.0]}
    draws = Draws(*settings.values(), seeds, places=60, device=CPU)  # type: ignore[arg-type]
    assert torch.equal(RowSampler(prior, CPU).sample(labels, *settings.values(), seeds), plain_sample(prior, labels, draws))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_kernels_convolve_as_plain_ones(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, kernel = torch.randn(1, 24, 4, 14, generator=generator), torch.randn(40, 24, 4, 5, generator=generator)
    expected = torch.nn.functional.conv2d(x.to(dtype).float(), kernel.to(dtype).float())
    found = convolve(x.to(dtype), packed(kernel.to(dtype), cols=10))
    assert found.shape == (1, 40, 1, 10)
    torch.testing.assert_close(found.float(), expected, atol=1e-4 if dtype == torch.float32 else 0.2, rtol=1e-2)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_seed_has_one_grid_in_any_company(precision: str) -> None:
    sampler = RowSampler(small((5, 8), words=40), CPU, precision)  # type: ignore[arg-type]
    labels, seeds = torch.arange(17) % 3, list(range(17))
    everyone = sample(sampler, labels, seeds)
    assert everyone.shape == (17, 5, 8) and everyone.dtype == torch.int64
    assert len({tuple(grid.flatten().tolist()) for grid in everyone}) == 17
    for count in (1, 2, 5, 9, 16):
        assert torch.equal(sample(sampler, labels[:count], seeds[:count]), everyone[:count])
    order = torch.randperm(17, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sample(sampler, labels[order], order.tolist()), everyone[order])


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_logits_have_the_same_bits_in_any_company(precision: str) -> None:
    """Channels enough for products of matrices to be cut into the pieces that they are at paper size."""
    prior = small((3, 7), words=300, channels=256, residual_channels=192, heads=4, head_width=16)
    sampler = RowSampler(prior, CPU, precision)  # type: ignore[arg-type]
    codes, labels = grids(prior, 16)
    together = sampler.logits(codes, labels)
    for item in (0, 13, 15):
        assert torch.equal(sampler.logits(codes[item : item + 1], labels[item : item + 1])[0], together[item])
    assert torch.equal(sampler.logits(codes[3:9].flip(0), labels[3:9].flip(0)).flip(0), together[3:9])


def test_threads_change_neither_the_grids_nor_the_setting() -> None:
    sampler, before, found = RowSampler(small(), CPU), torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(sample(sampler, torch.arange(5) % 3, list(range(5))))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_small_tiles_serve_only_where_they_round_as_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = RowSampler(small(), CPU)
    assert sampler.sizes[-1] == 16
    expected = sample(sampler, torch.tensor([1]), [5])
    monkeypatch.setattr(sampler, "sizes", [16])
    assert torch.equal(sample(sampler, torch.tensor([1]), [5]), expected)


def test_another_class_or_seed_gives_another_grid() -> None:
    sampler = RowSampler(small(), CPU)
    first, other_class, other_seed = sample(sampler, torch.tensor([0, 1, 0]), [7, 7, 8])
    assert not torch.equal(first, other_class) and not torch.equal(first, other_seed)


def test_one_word_is_the_likeliest_word() -> None:
    sampler = RowSampler(small(), CPU)
    labels = torch.tensor([0, 1, 2])
    likeliest = sample(sampler, labels, [1, 2, 3], temperature=0.0)
    assert torch.equal(sample(sampler, labels, [4, 5, 6], top_k=1), likeliest)
    assert torch.equal(sampler.logits(likeliest, labels).argmax(1), likeliest)


def test_bf16_is_near_float32_and_not_the_same() -> None:
    prior = small()
    assert 1e-4 < worst(prior, 3, precision="bf16") < 0.2


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UserError, match=r"precision 'fp8' is not known; use one of float32, bf16"):
        RowSampler(small(), CPU, "fp8")  # type: ignore[arg-type]


def test_a_network_in_training_is_caught() -> None:
    with pytest.raises(AssertionError, match="dropout"):
        RowSampler(small().train(), CPU)
