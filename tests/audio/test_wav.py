"""Sound files: decoding, fitting, resampling, and encoding with the recipe inside."""

import io

import numpy as np
import pytest
import soundfile
import torch

from foleyray.audio.wav import encode, fit, read_mono, resample, to_float, to_int16
from foleyray.clips import ClipSpec
from foleyray.config import UserError


def tone(hz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_round_trip_with_recipe(form):
    wave = tone(440, 22_050, 4.0)
    data = encode(wave, ClipSpec(), form, '{"seed": 7}')
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert (file.format, file.subtype, file.samplerate, file.channels) == (form.upper(), "PCM_16", 22_050, 1)
        assert file.frames == 88_200
        assert file.comment == '{"seed": 7}'
        assert np.abs(file.read() - wave).max() <= 0.5 / 32_768 + 1e-6


def test_beyond_full_scale_is_clipped_not_wrapped():
    assert to_int16(np.array([2.0, -2.0, 1.0, -1.0], np.float32)).tolist() == [32_767, -32_768, 32_767, -32_768]
    assert to_float(np.array([-32_768, 16_384], np.int16)).tolist() == [-1.0, 0.5]


def test_fit_cuts_and_pads_at_the_end():
    wave = np.arange(4, dtype=np.float32)
    assert fit(wave, 2).tolist() == [0, 1]
    assert fit(wave, 6).tolist() == [0, 1, 2, 3, 0, 0]


@pytest.mark.parametrize("rate", [8_000, 16_000, 32_000, 44_100, 48_000, 96_000])
def test_resampling_keeps_a_tone(rate):
    ours = resample(torch.from_numpy(tone(1000, rate)), rate, 22_050)[2000:-2000].numpy()
    phase = np.arange(len(ours)) + 2000
    assert np.abs(ours - 0.5 * np.sin(2 * np.pi * 1000 * phase / 22_050)).max() < 5e-3


def test_stereo_is_averaged(tmp_path):
    file = tmp_path / "stereo.wav"
    left = tone(440, 22_050)
    soundfile.write(file, np.stack([left, np.zeros_like(left)], 1), 22_050, subtype="FLOAT")
    assert np.allclose(read_mono(file, 22_050), left / 2)


@pytest.mark.parametrize("content", [b"", b"this is no sound"])
def test_not_audio_is_a_sentence(tmp_path, content):
    file = tmp_path / "x.wav"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.wav does not decode as sound"):
        read_mono(file, 22_050)
