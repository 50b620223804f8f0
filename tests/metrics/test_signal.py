"""Every fault of a wave on a wave that has it."""

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.metrics.signal import signals

RATE, LENGTH = 22_050, 88_200
SECONDS = np.arange(LENGTH) / RATE


def sine(hz: float, peak: float = 1.0) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hz * SECONDS)).astype(np.float32)


def test_level_and_offset():
    square = np.sign(sine(100.5) + 1e-9).astype(np.float32) * 0.5
    found = signals(
        np.stack([sine(1000, 0.9), sine(1000, 0.009), square, sine(1000, 0.1) + 0.25, np.zeros(LENGTH, np.float32)]), RATE
    )
    assert found.loudness_dbfs[:3] == pytest.approx([-3.92, -43.92, -6.02], abs=0.02) and found.loudness_dbfs[4] == -np.inf
    assert found.dc == pytest.approx([0, 0, 0, 0.25, 0], abs=1e-3)
    assert found.finite.all()


def test_clipping_and_silence():
    loud = np.clip(sine(50, 2.0), -1, 1)
    half = np.where(SECONDS < 2, sine(300, 0.3), 1e-4).astype(np.float32)
    found = signals(np.stack([loud, half, sine(300, 0.3)]), RATE)
    assert found.clipped_share == pytest.approx([2 / 3, 0, 0], abs=0.01)  # |2 sin| > 1 for two thirds of a period
    assert found.silent_share == pytest.approx([0, 0.5, 0], abs=0.01)


def test_rolloff_is_where_95_percent_of_the_power_lie():
    generator = np.random.default_rng(0)
    white = 0.1 * generator.standard_normal(LENGTH).astype(np.float32)
    two = sine(500, 0.3) + sine(5000, 0.03)  # 99 % of the power at 500 Hz
    found = signals(np.stack([white, two, two + 0.5, sine(4000, 0.1), np.zeros(LENGTH, np.float32)]), RATE)
    assert found.rolloff_hz == pytest.approx([0.95 * RATE / 2, 500, 500, 4000, 0], abs=60)


def test_int16_is_read_as_its_share_of_full_scale_and_blocks_join():
    waves = np.stack([sine(hz, 0.4)[:RATE] for hz in np.arange(100, 7100, 100)])
    exact, stored = signals(waves, RATE), signals(np.round(waves * 32768).astype(np.int16), RATE)
    assert len(exact.dc) == 70
    np.testing.assert_allclose(stored.loudness_dbfs, exact.loudness_dbfs, atol=1e-3)
    np.testing.assert_allclose(exact.rolloff_hz, np.arange(100, 7100, 100), atol=1.5)


def test_a_clip_that_is_not_finite_is_told_and_spoils_no_other():
    waves = np.stack([sine(500, 0.5)] * 3)
    waves[1, 7] = np.nan
    found = signals(waves, RATE)
    assert found.finite.tolist() == [True, False, True]
    for name in ("clipped_share", "dc", "silent_share", "rolloff_hz", "loudness_dbfs"):
        assert np.isfinite(getattr(found, name)).tolist() == [True, False, True], name


def test_other_shapes_are_refused():
    with pytest.raises(UserError, match=r"shape \[88200\]"):
        signals(sine(500), RATE)
    with pytest.raises(UserError, match="512 samples a clip"):
        signals(np.zeros((2, 511), np.float32), RATE)
