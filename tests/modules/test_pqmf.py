"""The filter banks: their filters, what each band lets through, and where its samples lie."""

import numpy as np
import pytest
import torch
from scipy.signal import firwin
from torch import Tensor

from foleyray.modules.pqmf import Pqmf

RATE_HZ = 22_050
LOWER = ((4, 192, 0.13, 10.0), (2, 256, 0.25, 10.0))
AVOCODO = (*LOWER, (16, 256, 0.03, 10.0), (64, 256, 0.1, 9.0))


def _sine(hz: float) -> Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(22_016, dtype=torch.float64) / RATE_HZ).float().unsqueeze(0)


def _gains_db(wave: Tensor, bands: Tensor) -> Tensor:
    """Of every band, in power, without the onsets at the wave's ends."""
    edge = bands.shape[2] // 20
    power = bands[0, :, edge:-edge].double().square().mean(dim=-1)
    return 10 * torch.log10(power / wave.double().square().mean())


@pytest.mark.parametrize("bank", AVOCODO, ids=str)
def test_an_impulse_shows_the_published_filters(bank: tuple[int, int, float, float]) -> None:
    bands, taps, cutoff, beta = bank
    wave = torch.zeros(1, 64 * bands)
    middle = 32 * bands
    wave[0, middle] = 1
    found = Pqmf(*bank)(wave)
    assert found.shape == (1, bands, 64)
    prototype = firwin(taps + 1, cutoff, window=("kaiser", beta), scale=False)
    for band in range(bands):
        for place in range(64):
            tap = place * bands - middle  # filters are correlated with the wave: tap -k meets a sample k later
            angle = (2 * band + 1) * np.pi / (2 * bands) * -tap + (-1) ** band * np.pi / 4
            expected = 2 * prototype[taps // 2 - tap] * np.cos(angle) if abs(tap) <= taps // 2 else 0
            assert found[0, band, place].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("bank", LOWER, ids=str)
def test_the_first_band_keeps_a_low_sine_and_loses_a_high_one(bank: tuple[int, int, float, float]) -> None:
    low, high = _sine(200), _sine(8000)
    assert _gains_db(low, Pqmf(*bank)(low))[0].item() == pytest.approx(0, abs=0.2)
    assert _gains_db(high, Pqmf(*bank)(high))[0].item() < -40


@pytest.mark.parametrize("bank", AVOCODO[:3], ids=str)
def test_the_middle_of_a_band_sounds_in_that_band(bank: tuple[int, int, float, float]) -> None:
    bands = bank[0]
    for band in range(bands):
        wave = _sine((band + 0.5) * RATE_HZ / 2 / bands)
        gains = _gains_db(wave, Pqmf(*bank)(wave))
        assert gains.argmax() == band
        assert gains[band].item() == pytest.approx(0, abs=0.01)
        assert all(gains[other] < -40 for other in range(bands) if other != band)


def test_a_bank_is_full_precision_and_no_part_of_a_checkpoint() -> None:
    bank, wave = Pqmf(*LOWER[0]), torch.randn(2, 512, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = bank(wave)
    assert found.dtype == torch.float32 and torch.equal(found, bank(wave))
    assert not bank.state_dict()


def test_a_wave_that_cannot_be_split_evenly_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="1001 samples cannot be split evenly into 4 bands"):
        Pqmf(*LOWER[0])(torch.zeros(1, 1001))
