"""What the VAE hears: the corpus's own mels, or those of another front end, computed from waves that are resampled to it."""

import torch
from torch import Tensor

from foleyray.audio.mel import Mel
from foleyray.audio.wav import resample
from foleyray.clips import ClipSpec, MelSpec
from foleyray.stage import Batch


class Front:
    """Batches of a corpus -> log-mels float32 (B, bands, frames) of `spec`."""

    def __init__(self, clip: ClipSpec, mel: MelSpec, front: MelSpec | None) -> None:
        self.spec, self.from_hz = front or mel, clip.sample_rate_hz
        self.mel = Mel(front) if front else None
        self.reads: tuple[str, ...] = ("wave",) if front else ("mel",)
        self.num_samples = ClipSpec(sample_rate_hz=self.spec.sample_rate_hz, seconds=clip.seconds).num_samples

    @torch.no_grad()
    def log_mel(self, batch: Batch) -> Tensor:
        """In float32, whatever the nets compute in."""
        if self.mel is None:
            return batch["mel"]
        wave = batch["wave"]
        with torch.autocast(wave.device.type, enabled=False):
            heard = resample(wave.float(), self.from_hz, self.spec.sample_rate_hz)[:, : self.num_samples]
            found: Tensor = self.mel.to(wave.device)(heard)
            return found
