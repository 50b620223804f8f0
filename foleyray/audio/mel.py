"""The log-mel front end: the only mel code in the house."""

import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from foleyray.clips import MelSpec


def filters(spec: MelSpec) -> Tensor:
    """Triangular mel filters (fft // 2 + 1, bands); slaney scale comes with slaney area normalisation (librosa's)."""
    norm = "slaney" if spec.filter_shape == "slaney" else None
    return melscale_fbanks(
        spec.fft // 2 + 1, spec.low_hz, spec.high_hz, spec.bands, spec.sample_rate_hz, norm=norm, mel_scale=spec.filter_shape
    )


class Mel(nn.Module):
    """wave (B, T) -> log-mel (B, bands, frames): magnitude STFT, mel filters, natural log of max(mel, floor)."""

    filters: Tensor
    window: Tensor

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("filters", filters(spec), persistent=False)
        self.register_buffer("window", torch.hann_window(spec.window, periodic=True), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        return torch.log(torch.clamp(self.magnitude(wave).transpose(1, 2) @ self.filters, min=self.spec.floor)).transpose(1, 2)

    def magnitude(self, wave: Tensor) -> Tensor:
        """wave (B, T) -> (B, fft // 2 + 1, frames), sqrt(re^2 + im^2 + 1e-9) as in HiFi-GAN."""
        spec = self.spec
        padded = nn.functional.pad(wave.unsqueeze(1), (spec.padding, spec.padding), mode="reflect").squeeze(1)
        transform = torch.stft(padded, spec.fft, spec.hop, spec.window, self.window, center=False, return_complex=True)
        return torch.sqrt(torch.view_as_real(transform).square().sum(-1) + 1e-9)
