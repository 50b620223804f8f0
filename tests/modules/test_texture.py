"""The spread of each word: what it is learned from, and where it is put."""

import pytest
import torch

from foleyray.modules.texture import Texture


def learned(residual, codes, decay=0.0, words=4) -> Texture:
    texture = Texture(words, 2, decay)
    texture.learn(residual, codes)
    return texture


def test_each_word_has_the_root_mean_square_of_its_own_cells():
    codes = torch.tensor([[[0, 1], [1, 3]]])
    residual = torch.zeros(1, 4, 4)
    residual[0, :2, :2] = torch.tensor([[1.0, -1.0], [1.0, -1.0]])  # word 0
    residual[0, :2, 2:] = 3.0  # word 1, once
    residual[0, 2:, :2] = 1.0  # word 1, twice
    spread = learned(residual, codes)(torch.tensor([[[0, 1, 2, 3]]]))
    assert spread.shape == (1, 2, 8)
    assert spread[0, 0, ::2].tolist() == pytest.approx([1.0, 5**0.5, 0.0, 0.0])
    assert torch.equal(spread[:, :, ::2], spread[:, :, 1::2]) and torch.equal(spread[:, 0], spread[:, 1])


def test_it_is_an_average_over_batches():
    codes = torch.zeros(1, 1, 1, dtype=torch.long)
    texture = learned(torch.full((1, 2, 2), 2.0), codes, decay=0.5)
    texture.learn(torch.full((1, 2, 2), 1.0), codes)
    assert texture(codes)[0, 0, 0].item() == pytest.approx(((0.25 * 4 + 0.5 * 1) / 0.75) ** 0.5)


def test_noise_of_that_spread_has_the_spread_of_what_was_lost():
    draws = torch.Generator().manual_seed(0)
    codes = torch.randint(4, (8, 10, 20), generator=draws)
    wanted = torch.tensor([0.0, 0.1, 0.5, 2.0])
    each = wanted[codes].repeat_interleave(2, 1).repeat_interleave(2, 2)
    texture = learned(each * torch.randn(each.shape, generator=draws), codes)
    found = texture(torch.arange(4).view(1, 1, 4))[0, 0, ::2]
    torch.testing.assert_close(found, wanted, rtol=0.1, atol=1e-6)
