"""Random pieces of clips with the frames that belong to them, as a vocoder is trained on."""

import torch
from torch import Tensor
from torch.nn import functional as F

from foleyray.audio.mel import Mel
from foleyray.clips import MelSpec


class Segments:
    """Pieces of `size` samples, a multiple of the hop, that begin at a frame.

    The mel of a piece is cut from the whole clip's: what lies beside the piece is heard in its first and last frames, as it
    will be in use. Only the samples that those frames need are transformed.
    """

    def __init__(self, spec: MelSpec, size: int) -> None:
        self.spec, self.size, self.frames = spec, size, size // spec.hop
        self.mel = Mel(spec)
        reach = max(spec.padding, spec.fft - spec.padding - spec.hop)
        self.margin = -(-reach // spec.hop)
        """Frames on each side that reach as far as any frame of the piece hears."""

    def cut(self, wave: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """wave (B, T) -> mel (B, bands, size / hop) and wave (B, size) of one piece of each clip."""
        hop, margin = self.spec.hop, self.margin
        last = min(self.spec.frames(wave.shape[1]), wave.shape[1] // hop) - self.frames
        begin = torch.randint(last + 1, (len(wave), 1), generator=generator, device=wave.device) * hop
        around = F.pad(wave.unsqueeze(1), (margin * hop, margin * hop), "reflect").squeeze(1)
        piece = around.gather(1, begin + torch.arange((self.frames + 2 * margin) * hop, device=wave.device))
        with torch.autocast(wave.device.type, enabled=False):
            mel = self.mel.to(wave.device)(piece)[:, :, margin : margin + self.frames]
        return mel, piece[:, margin * hop : margin * hop + self.size]
