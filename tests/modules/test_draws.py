"""Drawing words: greedy, cut off, and as often as their probabilities say."""

from collections.abc import Sequence

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from foleyray.modules.draws import Draws

LOGITS = torch.tensor([2.0, -1.0, 0.5, 0.5, -1.5, 1.0])
CPU = torch.device("cpu")


def draw(count: int, temperature: float = 1.0, top_k: int = 6, top_p: float = 1.0, seed: int = 1) -> Tensor:
    """How often each of six words is drawn in `count` places."""
    draws = Draws([temperature], [top_k], [top_p], [seed], places=count, device=CPU)
    words = [draws.words(LOGITS[None], place) for place in range(count)]
    return torch.bincount(torch.cat(words), minlength=6)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.1])
def test_words_come_as_often_as_their_probability(temperature: float) -> None:
    expected = (LOGITS.double() / temperature).softmax(0) * 2000
    assert chisquare(draw(2000, temperature).numpy(), expected.numpy()).pvalue > 0.01


def test_top_k_keeps_the_likeliest_and_the_first_of_equals() -> None:
    counts = draw(500, top_k=3)
    assert (counts[[0, 5, 2]] > 0).all() and counts.sum() == counts[[0, 5, 2]].sum()


def test_top_p_keeps_the_fewest_words_of_that_share() -> None:
    shares = LOGITS.softmax(0)
    assert 0.5 < shares[0] < 0.6 < 0.7 < shares[[0, 5]].sum() < 0.75
    assert set(draw(500, top_p=0.6).nonzero().flatten().tolist()) == {0, 5}
    assert set(draw(500, top_p=0.5).nonzero().flatten().tolist()) == {0}


def test_top_p_is_a_share_of_what_top_k_keeps() -> None:
    """The two likeliest words have 0.72 of all, and 0.86 of the three likeliest."""
    assert set(draw(500, top_k=3, top_p=0.8).nonzero().flatten().tolist()) == {0, 5}
    assert set(draw(500, top_p=0.8).nonzero().flatten().tolist()) == {0, 2, 5}


@pytest.mark.parametrize(("temperature", "top_k"), [(0.0, 6), (1.0, 1), (0.0, 1)])
def test_no_temperature_and_one_word_are_the_likeliest_word(temperature: float, top_k: int) -> None:
    assert draw(20, temperature, top_k)[0] == 20


def test_settings_of_one_item_do_not_touch_another() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 50, generator=generator)
    settings: list[tuple[float, int, float, int]] = [(1.0, 50, 1.0, 1), (0.0, 50, 1.0, 2), (0.8, 7, 0.5, 3)]

    def words(items: Sequence[int]) -> Tensor:
        columns = [list(column) for column in zip(*(settings[item] for item in items), strict=True)]
        draws = Draws(*columns, places=30, device=CPU)  # type: ignore[arg-type]
        return torch.stack([draws.words(logits[list(items)], place) for place in range(30)], dim=1)

    together = words([2, 0, 1])
    for row, item in enumerate([2, 0, 1]):
        assert torch.equal(together[row], words([item])[0])
    assert not torch.equal(together[1], together[0])


def test_words_without_any_chance_are_never_drawn() -> None:
    """Not even by the largest random number, behind which only impossible words lie."""
    draws = Draws([1.0], [3], [1.0], [0], places=1, device=CPU)
    draws.uniform.fill_(1 - 2**-24)
    assert draws.words(torch.tensor([[0.0, 1.0, 2.0, -1e4, -1e4]]), 0) == 2
