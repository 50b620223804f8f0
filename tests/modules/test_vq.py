"""The quantiser: nearest words, gradients, the codebook's averages alone and in company, and what it must never do."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from foleyray.modules.vq import Quantiser, usage


def _draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _latents(seed: int = 0, batch: int = 4, width: int = 64) -> Tensor:
    return torch.randn(batch, width, 5, 6, generator=_draws(seed))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """A fresh codebook is drawn from the process's own random numbers."""
    torch.manual_seed(0)


def _rows(latents: Tensor) -> Tensor:
    return latents.movedim(1, -1).flatten(0, 2)


def _learn(quantiser: Quantiser, latents: Tensor, seed: int = 0) -> Tensor:
    codes = quantiser(latents).codes
    quantiser.learn(latents, codes, _draws(seed))
    return codes


def test_shapes_and_nearest_words() -> None:
    quantiser, latents = Quantiser(512, 64), _latents()
    found = quantiser(latents)
    assert found.latents.shape == latents.shape and found.codes.shape == (4, 5, 6) and found.codes.dtype == torch.int64
    distances = torch.cdist(_rows(latents).double(), quantiser.codebook.double())
    assert torch.equal(found.codes.flatten(), distances.argmin(dim=1))
    assert torch.equal(found.latents, quantiser.lookup(found.codes))
    assert found.commitment.item() == pytest.approx(distances.amin(dim=1).square().sum().item() / latents.numel(), rel=1e-5)


def test_a_word_stands_for_itself() -> None:
    quantiser = Quantiser(512, 64)
    codes = torch.randint(512, (2, 20, 86), generator=_draws())
    found = quantiser(quantiser.lookup(codes))
    assert torch.equal(found.codes, codes) and found.commitment == 0
    assert torch.equal(found.latents, quantiser.lookup(codes))


def test_gradient_is_that_of_the_words_plus_that_of_the_commitment() -> None:
    quantiser, kernel = Quantiser(16, 8), _latents(1, width=8)

    def gradient(weight_behind: float, weight_commitment: float) -> tuple[Tensor, Tensor]:
        latents = _latents(width=8).requires_grad_()
        found = quantiser(latents)
        found.latents.retain_grad()
        behind = torch.tanh(found.latents * kernel).sum()
        (weight_behind * behind + weight_commitment * found.commitment).backward()
        assert latents.grad is not None and found.latents.grad is not None
        return latents.grad, found.latents.grad

    both, behind = gradient(1.0, 0.25)
    pull, nothing = gradient(0.0, 0.25)
    assert torch.equal(both, behind + pull) and not nothing.any()
    latents = _latents(width=8)
    by_hand = 0.25 * 2 * (latents - quantiser(latents).latents) / latents.numel()
    assert torch.allclose(pull, by_hand, atol=1e-8) and behind.abs().max() > 0.1


def test_no_gradient_reaches_the_codebook() -> None:
    quantiser, latents = Quantiser(16, 8), _latents(width=8).requires_grad_()
    found = quantiser(latents)
    (found.latents.square().sum() + found.commitment).backward()
    assert not list(quantiser.parameters())
    assert quantiser.codebook.grad is None and not quantiser.codebook.requires_grad


def test_without_memory_a_word_is_the_mean_of_its_latents() -> None:
    quantiser, latents = Quantiser(16, 8, decay=0.0), _latents(width=8)
    codes, rows = _learn(quantiser, latents).flatten(), _rows(latents)
    used = codes.unique()
    assert 8 < len(used) <= 16
    for word in used:
        torch.testing.assert_close(quantiser.codebook[word], rows[codes == word].mean(dim=0), rtol=1e-4, atol=1e-6)


def test_averages_by_hand() -> None:
    quantiser, decay = Quantiser(3, 1, decay=0.9), 0.9
    quantiser.codebook.copy_(torch.tensor([[0.0], [10.0], [-10.0]]))
    # The last word has been idle for so long that the smoothing is as large as its count.
    quantiser.counts.copy_(torch.tensor([1.0, 1.0, 1e-5]))
    quantiser.sums.copy_(quantiser.codebook * quantiser.counts[:, None])
    _learn(quantiser, torch.tensor([1.0, 2.0, 3.0, 9.0]).view(1, 1, 2, 2))
    counts = torch.tensor([decay + 0.1 * 3, decay + 0.1, decay * 1e-5])
    sums = torch.tensor([0.1 * 6, decay * 10 + 0.1 * 9, decay * -1e-4])
    torch.testing.assert_close(quantiser.counts, counts)
    torch.testing.assert_close(quantiser.sums[:, 0], sums)
    smoothed = (counts + 1e-5) / (counts.sum() + 3e-5) * counts.sum()
    torch.testing.assert_close(quantiser.codebook[:, 0], sums / smoothed)
    assert quantiser.codebook[2].item() == pytest.approx(-9 / 1.9, rel=1e-3)


def test_only_learning_changes_anything() -> None:
    quantiser, latents = Quantiser(32, 8, restart_after=1), _latents(width=8)
    before = {key: value.clone() for key, value in quantiser.state_dict().items()}
    for mode in (True, False):
        quantiser.train(mode)
        quantiser.lookup(quantiser(latents).codes)
        quantiser.nearest(latents)
        assert all(torch.equal(value, before[key]) for key, value in quantiser.state_dict().items())
    with pytest.raises(AssertionError, match="training mode"):
        _learn(quantiser, latents)
    assert all(torch.equal(value, before[key]) for key, value in quantiser.state_dict().items())
    _learn(quantiser.train(), latents)
    assert all(not torch.equal(value, before[key]) for key, value in quantiser.state_dict().items() if key != "idle")


def test_half_precision_around_it_changes_no_code() -> None:
    quantiser, latents = Quantiser(512, 64), _latents(batch=32) + 8
    quantiser.codebook.add_(8)
    with torch.autocast("cpu", torch.bfloat16):
        found = quantiser(latents)
        naive = torch.addmm(quantiser.codebook.square().sum(1).bfloat16(), _rows(latents), quantiser.codebook.T, alpha=-2)
    assert torch.equal(found.codes, quantiser(latents).codes) and found.latents.dtype == torch.float32
    assert (naive.argmin(dim=1) != found.codes.flatten()).float().mean() > 0.5, "this case would show distances in bf16"
    rounded = latents.bfloat16()
    assert torch.equal(quantiser(rounded).codes, quantiser(rounded.float()).codes)


# Words that nothing falls on


def test_an_idle_word_is_put_onto_a_latent() -> None:
    quantiser, latents = Quantiser(64, 8, restart_after=3), _latents(width=8) * 0.1
    quantiser.codebook[32:] += 100
    quantiser.sums.copy_(quantiser.codebook)
    for _ in range(2):
        _learn(quantiser, latents)
    far = quantiser.codebook[32:].clone()
    assert (far > 50).all()
    _learn(quantiser, latents)
    distances = torch.cdist(quantiser.codebook[32:], _rows(latents), compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.amin(dim=1).max() == 0
    assert not quantiser.idle[32:].any() and (quantiser.counts[32:] == 1).all()
    assert quantiser(latents).codes.unique().numel() > 40


def test_idle_words_stay_where_they_are_unless_asked() -> None:
    quantiser, latents = Quantiser(64, 8), _latents(width=8) * 0.1
    quantiser.codebook[32:] += 100
    quantiser.sums.copy_(quantiser.codebook)
    before = quantiser.codebook[32:].clone()
    for _ in range(20):
        _learn(quantiser, latents)
    torch.testing.assert_close(quantiser.codebook[32:], before, rtol=1e-3, atol=0)


def test_restarts_are_drawn_by_the_generator() -> None:
    def codebook(seed: int) -> Tensor:
        torch.manual_seed(0)
        quantiser = Quantiser(256, 8, restart_after=1)
        _learn(quantiser, _latents(width=8), seed)
        return quantiser.codebook

    assert torch.equal(codebook(1), codebook(1)) and not torch.equal(codebook(1), codebook(2))


# In company


def _learnt(restart_after: int | None, batches: list[Tensor], seed: int) -> Quantiser:
    torch.manual_seed(0)
    quantiser, draws = Quantiser(128, 8, restart_after=restart_after), _draws(seed)
    for latents in batches:
        quantiser.learn(latents, quantiser(latents).codes, draws)
    return quantiser


def _together(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    mine = [_latents(10 * rank + k, width=8) for k in range(5)]
    states = {name: _learnt(after, mine, rank).state_dict() for name, after in (("plain", None), ("restart", 2))}
    torch.save(states, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_share_one_codebook(tmp_path) -> None:
    mp.spawn(_together, (str(tmp_path),), nprocs=2)
    ours, theirs = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name in ours:
        for key, value in ours[name].items():
            assert torch.equal(value, theirs[name][key]), f"{name}: {key} differs between the workers"
    batches = [torch.cat([_latents(k, width=8), _latents(10 + k, width=8)]) for k in range(5)]
    torch.testing.assert_close(ours["plain"], dict(_learnt(None, batches, 0).state_dict()), rtol=1e-4, atol=1e-5)
    assert not torch.equal(ours["plain"]["codebook"], _learnt(None, batches[:4], 0).codebook)
    assert not torch.equal(ours["plain"]["codebook"], ours["restart"]["codebook"]), "no word was ever restarted"


# How much of a codebook is used


def test_perplexity_and_used_words() -> None:
    assert [float(value) for value in usage(torch.arange(512).view(2, 16, 16), 512)] == [pytest.approx(512), 512]
    assert [float(value) for value in usage(torch.full((2, 3, 4), 7), 512)] == [1, 1]
    perplexity, used = usage(torch.tensor([0, 0, 0, 5]), 512)
    assert float(perplexity) == pytest.approx(4 / 3**0.75) and used == 2
