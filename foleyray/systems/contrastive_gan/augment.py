"""Changes of scaled mels (B, 1, bands, frames): shift and gain before the discriminator, fades and masks for the encoder.

All pass gradients, and every random number comes from the generator that is handed in. `floor` is silence on the scale.
"""

from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

from foleyray.clips import MelSpec
from foleyray.modules.scaling import MelScale
from foleyray.systems.contrastive_gan.config import Augment, Encoder

NEPERS_PER_DB = log(10) / 20


class Augmenter:
    """What mels of one front end and one scale look like after a change that was made to the sound."""

    def __init__(self, spec: MelSpec, scale: MelScale) -> None:
        self.frames_per_second = spec.sample_rate_hz / spec.hop
        self.per_neper = 2 / (scale.high - scale.low)
        self.floor = (log(spec.floor) - scale.low) * self.per_neper - 1

    def shift_and_gain(self, mel: Tensor, settings: Augment, generator: torch.Generator) -> Tensor:
        """Each clip later or earlier by up to `shift_seconds`, with silence in the gap, and louder or softer by `gain_db`."""
        span = round(settings.shift_seconds * self.frames_per_second)
        if span:
            mel = shift(mel, _integers(mel, -span, span, generator), self.floor)
        if settings.gain_db:
            gain = _uniform(mel, generator) * (2 * settings.gain_db) - settings.gain_db
            mel = self._turned(mel, gain[:, None, None, None] * NEPERS_PER_DB)
        return mel

    def fade_and_mask(self, mel: Tensor, settings: Encoder, generator: torch.Generator) -> Tensor:
        """A view for the encoder: linear fades at both ends, then 1 to `masks` time masks filled with silence.

        The fade of a wave is here the gain of each frame, which leaves only the curve within a window aside.
        """
        frames = mel.shape[3]
        place = torch.arange(frames, device=mel.device) + 0.5
        longest = settings.fade_seconds * self.frames_per_second
        fades = torch.ones(len(mel), frames, device=mel.device)
        for distance in (place, place.flip(0)):
            length = _uniform(mel, generator) * longest
            fades = fades * (distance / length.clamp(min=0.5)[:, None]).clamp(max=1)
        mel = self._turned(mel, fades.log()[:, None, None, :])
        count = _integers(mel, 1, settings.masks, generator) if settings.masks else torch.zeros(len(mel), device=mel.device)
        for index in range(settings.masks):
            length = _integers(mel, 1, settings.mask_frames, generator) * (index < count)
            begin = (_uniform(mel, generator) * (frames - length + 1)).floor()
            inside = (place > begin[:, None]) & (place < (begin + length)[:, None])
            mel = mel.masked_fill(inside[:, None, None, :], self.floor)
        return mel

    def _turned(self, mel: Tensor, nepers: Tensor) -> Tensor:
        return (mel + nepers * self.per_neper).clamp(self.floor, 1)


def shift(mel: Tensor, by: Tensor, fill: float) -> Tensor:
    """mel (B, 1, bands, frames), by (B,) in frames -> the same, later where `by` is positive, with `fill` in the gap."""
    span = int(by.abs().max())
    frames = mel.shape[3]
    source = torch.arange(frames, device=mel.device) - by[:, None] + span
    return F.pad(mel, (span, span), value=fill).gather(3, source[:, None, None, :].expand_as(mel))


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(len(like), generator=generator, device=like.device)


def _integers(like: Tensor, low: int, high: int, generator: torch.Generator) -> Tensor:
    """(B,) whole numbers from `low` to `high`, both included."""
    return torch.randint(low, high + 1, (len(like),), generator=generator, device=like.device)
