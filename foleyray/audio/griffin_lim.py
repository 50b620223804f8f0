"""From a log-mel back to a wave without a trained vocoder: fast Griffin-Lim that is held to the mel itself.

Griffin and Lim (1984) with the momentum of Perraudin, Balazs and Sondergaard (2013). One thing differs from the usual
form: what is known is the mel, not the linear magnitude, so in every round the rebuilt magnitude is only corrected by as
much as its own mel is wrong, and stays free within a band. At 32 rounds this halves the error of the mel.
"""

import torch
from torch import Tensor, nn

from foleyray.audio.mel import filters
from foleyray.clips import MelSpec


class GriffinLim(nn.Module):
    """log-mel (B, bands, frames), phase (B, frames, fft // 2 + 1) -> wave (B, num_samples) in [-1, 1].

    Where the frames end before the clip does, zeros follow.
    """

    filters: Tensor
    window: Tensor
    coverage: Tensor
    spread: Tensor
    inverse: Tensor

    def __init__(self, spec: MelSpec, num_samples: int, iterations: int, momentum: float) -> None:
        super().__init__()
        self.spec, self.num_samples, self.iterations, self.momentum = spec, num_samples, iterations, momentum
        self.frames = spec.frames(num_samples)
        bank = filters(spec)
        before = (spec.fft - spec.window) // 2
        window = nn.functional.pad(torch.hann_window(spec.window), (before, spec.fft - spec.window - before))
        self.register_buffer("filters", bank, persistent=False)
        self.register_buffer("spread", (bank / bank.sum(1, keepdim=True).clamp(min=1e-9)).T.contiguous(), persistent=False)
        self.register_buffer("inverse", torch.linalg.pinv(bank), persistent=False)
        self.register_buffer("window", window, persistent=False)
        whole = window.square().expand(1, self.frames, -1)
        self.register_buffer("coverage", self._overlap_add(whole).clamp(min=1e-3), persistent=False)

    def noise(self, generator: torch.Generator) -> Tensor:
        """The phase (frames, fft // 2 + 1) that one clip begins with, on the CPU, drawn from the clip's own generator."""
        return torch.rand(self.frames, self.spec.fft // 2 + 1, generator=generator) * (2 * torch.pi)

    def forward(self, mel: Tensor, phase: Tensor) -> Tensor:
        wanted = mel.float().exp().transpose(1, 2)
        spectrum = torch.polar((wanted @ self.inverse).clamp(min=1e-7), phase)
        before = torch.zeros_like(spectrum)
        for index in range(self.iterations):
            rebuilt = self._transform(self._wave(spectrum))
            magnitude = _magnitude(rebuilt)
            magnitude = magnitude * ((wanted / (magnitude @ self.filters).clamp(min=1e-7)) @ self.spread)
            moved = torch.add(rebuilt, rebuilt - before, alpha=self.momentum) if index else rebuilt
            spectrum = moved * (magnitude / _magnitude(moved))
            before = rebuilt
        wave = self._wave(spectrum)[:, self.spec.padding : self.spec.padding + self.num_samples]
        return nn.functional.pad(wave, (0, self.num_samples - wave.shape[1]))

    def _transform(self, wave: Tensor) -> Tensor:
        """padded wave (B, T) -> spectrum (B, frames, fft // 2 + 1)"""
        return torch.fft.rfft(wave.unfold(1, self.spec.fft, self.spec.hop) * self.window)

    def _wave(self, spectrum: Tensor) -> Tensor:
        """spectrum (B, frames, fft // 2 + 1) -> the padded wave (B, T) that lies nearest to it, kept within [-1, 1]"""
        wave = self._overlap_add(torch.fft.irfft(spectrum, self.spec.fft) * self.window) / self.coverage
        return wave.clamp_(-1, 1)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """(B, frames, fft) -> (B, (frames - 1) * hop + fft)"""
        hop, count = self.spec.hop, -(-self.spec.fft // self.spec.hop)
        parts = nn.functional.pad(frames, (0, count * hop - self.spec.fft)).reshape(*frames.shape[:2], count, hop)
        sums = frames.new_zeros(len(frames), self.frames + count - 1, hop)
        for index in range(count):
            sums[:, index : index + self.frames] += parts[:, :, index]
        return sums.flatten(1)[:, : (self.frames - 1) * hop + self.spec.fft]


def _magnitude(spectrum: Tensor) -> Tensor:
    """|spectrum|, kept off zero; faster than abs, which guards against overflow."""
    return (spectrum.real.square() + spectrum.imag.square()).clamp_(min=1e-16).sqrt()
