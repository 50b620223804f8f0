"""Statistics of log-mel windows as an embedder: needs no weights, hears loudness shapes and timbre, knows no sound by name.

Per window of about 1 s, of the clip scaled to its loudest frame: mean and deviation over time of each band's log-mel, how
fast four groups of bands change, their modulation spectra in octaves from 1 to 32 Hz (Dau et al., "Modeling auditory
processing of amplitude modulation", 1997), and the clip's level. The scales put all of them within about one order.
"""

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from foleyray.audio.mel import Mel
from foleyray.clips import MelSpec
from foleyray.config import fingerprint
from foleyray.metrics.embedder import Embedding, keep
from foleyray.progress import Progress

SPEC = MelSpec(bands=32, low_hz=50.0, high_hz=8_000.0, filter_shape="htk")
WINDOW, HOP = 86, 43
"""Mel frames of a window, about 1 s, and from one window to the next."""
FLOOR = 0.25
"""Mel magnitude, of a clip whose loudest frame has an RMS of 1, at which the logarithm bends into a line."""
SILENT = 0.5
"""A window no band of which rises above this log-mel is silent: about 60 dB below the clip's loudest frame."""
QUIETEST = 1e-3
"""-60 dBFS: a clip below is not scaled up further, so that silence stays silent."""
GROUPS, OCTAVES = 4, (1, 2, 4, 8, 16, 32)
SCALES = CHANGE, MODULATION, LEVEL = 4.0, 0.5, 0.3


class LogMel:
    """89 numbers per window of 1 s, every 0.5 s: 7 windows for 4 s. The recipe `active` leaves silent windows out."""

    name = "logmel"
    note = "needs no weights; its distances compare with other logmel distances only, with no published number"
    sample_rate_hz = SPEC.sample_rate_hz
    weights_id = fingerprint(SPEC, [WINDOW, HOP, FLOOR, SILENT, QUIETEST, GROUPS, OCTAVES], SCALES)
    dim = 2 * SPEC.bands + GROUPS + GROUPS * (len(OCTAVES) - 1) + 1

    def __init__(self, recipe: str, device: torch.device | str = "cpu") -> None:
        self.recipe, self.device = recipe, torch.device(device)
        self.mel = Mel(SPEC).to(self.device)

    @torch.inference_mode()
    def embed(self, wave: Tensor) -> Embedding:
        padded = complete(wave.to(self.device))
        level = loudest_frame(padded)
        magnitude = self.mel.magnitude(padded / level[:, None]).transpose(1, 2)
        windows = torch.log1p(magnitude @ self.mel.filters / FLOOR).unfold(1, WINDOW, HOP)
        levels = LEVEL * torch.log(level)[:, None, None].expand(-1, windows.shape[1], 1)
        frames = torch.cat([windows.mean(3), windows.std(3), change(windows), modulation(windows), levels], dim=2)
        return Embedding(frames, keep(-windows.amax(dim=(2, 3)), -SILENT if self.recipe == "active" else None))


def complete(wave: Tensor) -> Tensor:
    """wave (B, T), zero-padded at its end until the last window is full."""
    frames = SPEC.frames(max(wave.shape[1], SPEC.fft))
    missing = max(WINDOW - frames, 0) or -(frames - WINDOW) % HOP
    return nn.functional.pad(wave, (0, (frames + missing) * SPEC.hop - wave.shape[1])) if missing else wave


def loudest_frame(wave: Tensor) -> Tensor:
    """wave (B, T) -> (B,): the largest RMS of a frame, no less than QUIETEST."""
    return wave.unfold(1, SPEC.window, SPEC.hop).square().mean(2).sqrt().amax(1).clamp(min=QUIETEST)


def grouped(windows: Tensor) -> Tensor:
    """windows (B, F, bands, time) -> (B, F, groups, time), the mean of neighbouring bands."""
    return windows.reshape(*windows.shape[:2], GROUPS, -1, windows.shape[3]).mean(3)


def change(windows: Tensor) -> Tensor:
    """windows (B, F, bands, time) -> (B, F, groups): mean absolute step from frame to frame, by group of bands."""
    return CHANGE * grouped(windows.diff(dim=3).abs()).mean(3)


def modulation(windows: Tensor) -> Tensor:
    """windows (B, F, bands, time) -> (B, F, groups * octaves): RMS of the modulation spectrum, octave by octave."""
    groups = grouped(windows)
    taper = torch.hann_window(WINDOW, device=windows.device)
    spectrum = torch.fft.rfft((groups - groups.mean(3, keepdim=True)) * taper, dim=3, norm="ortho").abs()
    octaves = [spectrum[..., low:high].square().mean(3).sqrt() for low, high in pairwise(OCTAVES)]
    return MODULATION * torch.cat(octaves, dim=2)


def build(recipe: str, weights: Path | None, device: torch.device | str, progress: Progress) -> LogMel:
    """The embedder; neither weights nor progress are needed."""
    return LogMel(recipe, device)
