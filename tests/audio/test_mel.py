"""The one mel front end against librosa's filters and the published conventions."""

import librosa
import numpy as np
import torch

from foleyray.audio.mel import Mel, filters
from foleyray.clips import MelSpec


def test_filters_are_librosas():
    spec = MelSpec()
    oracle = librosa.filters.mel(sr=22_050, n_fft=1024, n_mels=80, fmin=0, fmax=8000)
    assert np.abs(filters(spec).numpy().T - oracle).max() < 1e-6


def test_htk_filters_are_librosas_without_area_norm():
    spec = MelSpec(sample_rate_hz=16_000, fft=512, hop=160, window=400, bands=64, low_hz=125, high_hz=7500, filter_shape="htk")
    oracle = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=64, fmin=125, fmax=7500, htk=True, norm=None)
    assert np.abs(filters(spec).numpy().T - oracle).max() < 1e-5


def test_silence_lies_on_the_floor():
    mel = Mel(MelSpec())(torch.zeros(1, 88_200))
    assert mel.shape == (1, 80, 344)
    assert torch.allclose(mel, torch.full_like(mel, -11.5129), atol=1e-4)


def test_mel_is_librosas_in_the_uncentred_convention():
    wave = 0.3 * torch.randn(1, 22_050, generator=torch.Generator().manual_seed(0))
    padded = np.pad(wave[0].numpy(), 384, mode="reflect")
    magnitude = np.abs(librosa.stft(padded, n_fft=1024, hop_length=256, center=False))
    oracle = np.log(np.maximum(librosa.filters.mel(sr=22_050, n_fft=1024, n_mels=80, fmax=8000) @ magnitude, 1e-5))
    ours = Mel(MelSpec())(wave)[0].numpy()
    assert ours.shape == oracle.shape
    assert np.abs(ours - oracle).max() < 1e-3


def test_a_tone_lands_in_its_band():
    spec = MelSpec()
    seconds = torch.arange(88_200) / spec.sample_rate_hz
    mel = Mel(spec)(torch.sin(2 * torch.pi * 1000 * seconds).unsqueeze(0))
    centres = librosa.mel_frequencies(n_mels=82, fmin=0, fmax=8000)[1:-1]
    assert abs(centres[mel.mean(-1).argmax()] - 1000) < 40
