"""Griffin-Lim against the mel it is given: level, place in time, length, and the same bits in any company."""

import numpy as np
import pytest
import torch
from torch import Tensor

from foleyray.audio import wav
from foleyray.audio.griffin_lim import GriffinLim
from foleyray.audio.mel import Mel
from foleyray.clips import ClipSpec, MelSpec
from tests.shared import SHARED, needs_shared

SPEC, NUM_SAMPLES = MelSpec(), ClipSpec().num_samples


def _draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _rebuilt(wave: Tensor, spec: MelSpec = SPEC, iterations: int = 32) -> Tensor:
    vocoder = GriffinLim(spec, wave.shape[1], iterations, momentum=0.99)
    phases = torch.stack([vocoder.noise(_draws(seed)) for seed in range(len(wave))])
    return vocoder(Mel(spec)(wave), phases)


def _error(wave: Tensor, spec: MelSpec = SPEC) -> float:
    """Mean absolute difference of the log-mels, in nepers."""
    return float((Mel(spec)(_rebuilt(wave, spec)) - Mel(spec)(wave)).abs().mean())


def _noise(seed: int = 0, num_samples: int = NUM_SAMPLES) -> Tensor:
    time = torch.linspace(0, 1, num_samples)
    return 0.1 * torch.randn(1, num_samples, generator=_draws(seed)) * torch.exp(-3 * time)


def test_mel_comes_back() -> None:
    assert _error(_noise()) < 0.05


@pytest.mark.parametrize(
    "spec",
    [
        MelSpec(centre=True),
        MelSpec(hop=300),
        MelSpec(window=800),
        MelSpec(sample_rate_hz=16_000, hop=160, bands=64, filter_shape="htk"),
    ],
    ids=["centred", "hop", "window", "16k"],
)
def test_mel_of_other_front_ends_comes_back(spec: MelSpec) -> None:
    assert _error(_noise(num_samples=32_000), spec) < 0.08


def test_a_click_stays_where_it_was() -> None:
    wave = torch.zeros(1, NUM_SAMPLES)
    wave[0, 40_000] = 0.9
    energy = _rebuilt(wave)[0].square()
    centre = (energy * torch.arange(NUM_SAMPLES)).sum() / energy.sum()
    assert abs(float(centre) - 40_000) < 32


def test_length_range_and_the_last_samples() -> None:
    tone = 0.5 * torch.sin(2 * torch.pi * 440 / 22_050 * torch.arange(NUM_SAMPLES))[None]
    wave = _rebuilt(tone)
    assert wave.shape == (1, 88_200) and wave.abs().max() <= 1
    assert wave[0, -200:].std() == pytest.approx(float(tone[0, -200:].std()), rel=0.5)


def test_zeros_follow_where_frames_end_early() -> None:
    num_samples = 10_000 + 255
    spec = MelSpec(fft=256, window=256, bands=20)
    wave = GriffinLim(spec, num_samples, 2, 0.99)(torch.zeros(1, 20, spec.frames(num_samples)), torch.zeros(1, 129)[None])
    assert wave.shape == (1, num_samples) and wave[0, -1] == 0


def test_loud_clips_settle_below_full_scale() -> None:
    loud = (3 * _noise(1) / 0.1).clamp(-1, 1)
    assert _error(loud) < 0.1


def test_silence_stays_silent() -> None:
    assert _rebuilt(torch.zeros(1, NUM_SAMPLES)).abs().max() < 1e-4


def test_a_clip_has_the_same_bits_alone_and_in_a_batch() -> None:
    waves = torch.cat([_noise(seed) for seed in range(3)])
    vocoder = GriffinLim(SPEC, NUM_SAMPLES, 4, 0.99)
    mel, phases = Mel(SPEC)(waves), torch.stack([vocoder.noise(_draws(seed)) for seed in range(3)])
    alone = torch.cat([vocoder(mel[i : i + 1], phases[i : i + 1]) for i in range(3)])
    assert torch.equal(alone, torch.cat([vocoder(mel[i : i + 1], phases[i : i + 1]) for i in (2, 1, 0)]).flip(0))
    assert torch.allclose(alone, vocoder(mel, phases), atol=1e-5)


@needs_shared
def test_real_recordings_come_back() -> None:
    files = sorted((SHARED / "data" / "foley7" / "eval").rglob("*.flac"))[::19]
    waves = np.stack([wav.fit(wav.read_mono(file, 22_050), NUM_SAMPLES) for file in files])
    assert _error(torch.from_numpy(waves)) < 0.06
