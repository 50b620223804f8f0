"""The embedder without weights: shapes, silence, and whether it tells sounds apart."""

import numpy as np
import pytest
import torch

from foleyray.metrics.distances import frechet_rows
from foleyray.metrics.embeddings import embed_clips
from foleyray.metrics.logmel import LogMel
from foleyray.metrics.reference import ReferenceClass
from foleyray.metrics.scores import score
from tests.shared import SHARED, needs_shared

RATE = LogMel.sample_rate_hz
ACTIVE, ALL = LogMel("active"), LogMel("all")


def noise(clips: int, seconds: float = 4.0, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(clips, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def clicks(clips: int, seed: int) -> np.ndarray:
    """Decaying bursts at random times, a few a second (clips, 4 s) float32."""
    generator, length = np.random.default_rng(seed), 4 * RATE
    waves = np.zeros((clips, length), dtype=np.float32)
    burst = np.exp(-np.arange(2000) / 200)
    for wave in waves:
        for start in generator.integers(0, length - 2000, 14):
            wave[start : start + 2000] += (0.3 * generator.standard_normal(2000) * burst).astype(np.float32)
    return waves


@pytest.mark.parametrize(("seconds", "windows"), [(0.01, 1), (0.5, 1), (1.0, 1), (1.1, 2), (4.0, 7), (4.5, 8), (10.0, 20)])
def test_every_length_has_whole_windows(seconds, windows):
    found = ALL.embed(noise(2, seconds))
    assert found.frames.shape == (2, windows, ALL.dim) and found.frames.dtype == torch.float32
    assert found.frames.isfinite().all() and found.kept.all()


def test_silent_windows_are_left_out_and_a_silent_clip_keeps_one():
    padded = torch.cat([noise(1, 0.9), torch.zeros(1, 4 * RATE)], dim=1)
    kept = ACTIVE.embed(torch.cat([padded[:, : 4 * RATE], torch.zeros(1, 4 * RATE), noise(1)])).kept
    assert kept[0].tolist() == [True, True, False, False, False, False, False]
    assert kept[1].sum() == 1 and kept[2].all()


def test_faint_noise_under_silence_does_not_hide_it():
    padded = torch.cat([noise(1, 0.9), 1e-4 * noise(1, 3.0, seed=1)], dim=1)
    assert ACTIVE.embed(padded).kept.sum() == 2


def test_gain_moves_the_level_alone():
    loud = noise(2)
    a, b = ALL.embed(loud).frames, ALL.embed(loud / 4).frames
    torch.testing.assert_close(a[..., :-1], b[..., :-1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close((a - b)[..., -1], torch.full((2, 7), 0.3 * np.log(4)), rtol=1e-4, atol=1e-4)


def test_damage_grows_with_the_damage():
    real, other = (embed_clips(ACTIVE, clicks(16, seed), RATE).rows for seed in (0, 1))
    generator = np.random.default_rng(2)

    def damaged(share: float) -> float:
        waves = clicks(16, 1) + (share * generator.standard_normal((16, 4 * RATE))).astype(np.float32)
        return frechet_rows(embed_clips(ACTIVE, waves, RATE).rows, real)

    distances = [frechet_rows(other, real), damaged(0.001), damaged(0.01), damaged(0.1)]
    assert distances == sorted(distances)
    assert distances[-1] > 20 * distances[0]


def test_the_same_spectrum_in_another_rhythm_is_told_apart():
    steady = np.random.default_rng(0).standard_normal((20, 4 * RATE)).astype(np.float32) * 0.1
    time = np.arange(4 * RATE) / RATE
    pulsing = (steady * (1 + np.sin(2 * np.pi * 4 * time))).astype(np.float32)
    halves = [embed_clips(ACTIVE, part, RATE).rows for part in (steady[:10], steady[10:], pulsing[:10])]
    assert frechet_rows(halves[0], halves[2]) > 20 * frechet_rows(halves[0], halves[1])


@needs_shared
def test_real_classes_are_nearest_to_themselves():
    import soundfile

    def side(split: str, at_most: int) -> dict:
        folders = sorted((SHARED / "data" / "foley7" / split).iterdir())
        waves = {
            folder.name: np.stack([soundfile.read(path, dtype="int16")[0] for path in sorted(folder.glob("*.flac"))[:at_most]])
            for folder in folders
        }
        return {name: embed_clips(ACTIVE, clips, RATE) for name, clips in waves.items()}

    reference = {name: ReferenceClass.of(clips) for name, clips in side("train", 24).items()}
    scores = score(side("eval", 12), reference, seed=0, resamples=4)
    assert len(scores) == 7 and all(found.is_nearest for found in scores.values())
