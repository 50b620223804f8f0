import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from foleyray.audio import wav
from foleyray.clips import ClipSpec
from foleyray.corpus.decode import Outcome, decode
from tests.corpus.recordings import CLIP, noise
from tests.shared import SHARED, needs_shared


def encoded(wave: np.ndarray, rate_hz: int, form: str = "WAV", subtype: str | None = None) -> bytes:
    target = io.BytesIO()
    soundfile.write(target, wave, rate_hz, format=form, subtype=subtype)
    return target.getvalue()


def decoded(content: bytes, clip: ClipSpec = CLIP) -> tuple[Outcome, np.ndarray | None]:
    return decode(io.BytesIO(content), clip)


@pytest.mark.parametrize("rate_hz", [4_000, 8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("seconds", [0.1, 0.5, 3.0])
def test_any_rate_and_length_becomes_one_clip_as_the_whole_file_would(rate_hz, seconds):
    content = encoded(noise(0, seconds, rate_hz, channels=2), rate_hz, subtype="FLOAT")
    outcome, pcm = decoded(content)
    whole = wav.to_int16(wav.fit(wav.read_mono(io.BytesIO(content), CLIP.sample_rate_hz), CLIP.num_samples))
    assert outcome.kind == outcome.warning == ""
    assert outcome.how == {0.1: "padded", 0.5: "whole", 3.0: "cut"}[seconds] and outcome.seconds == pytest.approx(
        seconds, abs=2e-3
    )
    assert pcm.dtype == np.int16 and pcm.shape == (CLIP.num_samples,)
    assert np.abs(pcm.astype(int) - whole).max() <= 1


@pytest.mark.parametrize(
    ("form", "subtype", "channels"),
    [
        ("WAV", "PCM_U8", 1), ("WAV", "PCM_24", 6), ("WAV", "DOUBLE", 2), ("WAV", "ULAW", 1), ("AIFF", "PCM_16", 2),
        ("FLAC", "PCM_24", 1), ("OGG", "VORBIS", 2), ("OGG", "OPUS", 1), ("MP3", "MPEG_LAYER_III", 2), ("CAF", "ALAC_16", 1),
        ("AU", "PCM_16", 1), ("W64", "PCM_16", 1), ("RF64", "PCM_16", 2),
    ],
)  # fmt: skip
def test_formats_channels_and_bit_depths(form, subtype, channels):
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)
    outcome, pcm = decoded(encoded(np.tile(wave[:, None], (1, channels)), 24_000, form, subtype))
    assert outcome.kind == "" and outcome.warning == "" and outcome.how == "cut"
    spectrum = np.abs(np.fft.rfft(pcm))
    assert spectrum.argmax() == pytest.approx(440 * CLIP.seconds, abs=1)
    assert np.abs(pcm).max() / 32768 == pytest.approx(0.5, abs=0.06)


def test_a_rate_that_shares_no_factor_needs_no_giant_filter():
    outcome, pcm = decoded(encoded(np.sin(2 * np.pi * 1000 * np.arange(44_056) / 44_056), 44_056))
    assert outcome.kind == "" and np.abs(np.fft.rfft(pcm)).argmax() == pytest.approx(1000 * CLIP.seconds, abs=1)


def test_what_goes_beyond_full_scale_is_scaled_down():
    outcome, pcm = decoded(encoded(4 * noise(0, level=1.0), 8_000, subtype="FLOAT"))
    assert outcome.kind == outcome.warning == "" and outcome.gain == pytest.approx(0.25, rel=1e-2)
    assert np.abs(pcm.astype(int)).max() >= 32767 and (np.abs(pcm.astype(int)) >= 32767).sum() == 1


def with_one_nan(wave: np.ndarray) -> np.ndarray:
    wave[10] = np.nan
    return wave


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"", "undecodable", "the file is empty (0 bytes)"),
        (b"no sound at all\n" * 50, "undecodable", "no sound format that libsndfile knows"),
        (encoded(np.zeros((0, 1)), 8_000), "undecodable", "it holds no samples"),
        (encoded(np.zeros(4_000), 8_000), "silent", "digital silence"),
        (encoded(noise(0, level=5e-4), 8_000, subtype="FLOAT"), "silent", "peak below -60 dBFS (-66 dBFS)"),
        (encoded(np.r_[np.zeros(40_000), noise(0)[:, 0]], 8_000), "silent", "its first 0.5 s"),
        (encoded(with_one_nan(noise(0)), 8_000, subtype="FLOAT"), "undecodable", "values that are not numbers"),
        (encoded(noise(0), 8_000, "FLAC")[:200], "undecodable", "does not decode"),
        (encoded(noise(0), 100), "undecodable", "a rate of 100 Hz"),
    ],
)
def test_what_cannot_be_in_says_why(content, kind, said):
    outcome, pcm = decoded(content)
    assert pcm is None and outcome.kind == kind and said in outcome.reason


def test_quiet_is_not_silent():
    assert decoded(encoded(noise(0, level=2e-3), 8_000, subtype="PCM_24"))[0].kind == ""


@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU", "W64", "FLAC", "MP3"])
def test_truncated_files_are_in_with_a_warning(form):
    content = encoded(noise(0, 2.0), 8_000, form)
    outcome, pcm = decoded(content[: len(content) // 2], ClipSpec(sample_rate_hz=8_000, seconds=2.0))
    assert outcome.kind == "" and outcome.warning.startswith("truncated: ")
    assert np.abs(pcm[:4_000]).max() > 1_000 and not pcm[-4_000:].any()


def test_a_stream_of_unknown_length_is_no_truncated_file():
    content = bytearray(encoded(noise(0), 8_000))
    content[4:8] = content[40:44] = b"\xff" * 4
    assert decoded(bytes(content))[0] == decoded(encoded(noise(0), 8_000))[0]


def test_damage_is_never_raised():
    content = encoded(noise(0, 1.0), 8_000, "FLAC")
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(content)
        for place in rng.integers(0, len(broken), 8):
            broken[place] = rng.integers(256)
        outcome, pcm = decoded(bytes(broken))
        assert (pcm is None) == bool(outcome.kind) == bool(outcome.reason)


class Counting(io.BytesIO):
    asked = 0

    def readinto(self, buffer) -> int:
        found = super().readinto(buffer)
        self.asked += found
        return found

    def read(self, size=-1) -> bytes:
        found = super().read(size)
        self.asked += len(found)
        return found


def test_of_a_long_file_only_the_beginning_is_read():
    file = Counting(encoded(noise(0, 600.0), 8_000))
    assert decode(file, CLIP)[0].how == "cut"
    assert file.asked < 100_000 < len(file.getvalue())


def test_equal_sounds_have_equal_hashes_whatever_holds_them():
    wave = (noise(0) * 32768).astype(np.int16)
    first, second, other = (
        decoded(encoded(*sound))[0].hash for sound in ((wave, 8_000), (wave, 8_000, "FLAC"), (wave // 2, 8_000))
    )
    assert first == second != other


@needs_shared
def test_messy_files():
    clip = ClipSpec()
    found = {file.name: decode(file.open("rb"), clip)[0] for file in sorted(Path(SHARED / "data" / "messy").iterdir())}
    del found["README.md"], found["manifest.csv"]
    assert {name: outcome.kind for name, outcome in found.items() if outcome.kind} == {
        "cough_broken_in_the_wild.mp3": "undecodable",
        "zero_bytes.wav": "undecodable",
        "not_audio.wav": "undecodable",
        "silence.wav": "silent",
    }
    assert [name for name, outcome in found.items() if outcome.warning] == ["truncated.wav"]
    assert found["chien_été.mp3"].hash == found["dog-barking-24k.mp3"].hash
    assert found["really_an_ogg.wav"].hash == found["handgun_48k.ogg"].hash
    assert len({outcome.hash for outcome in found.values() if outcome.hash}) == 18
