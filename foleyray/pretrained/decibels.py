"""Mel decibels with librosa's conventions: the front end of PANNs, which CLAP shares with other numbers.

Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition" (2020), section III.
"""

import torch
from torch import Tensor, nn


class MelDecibels(nn.Module):
    """wave (B, T) -> 10 log10 of the mel power (B, frames, bands): centred Hann frames, reflected at both ends.

    Power below 1e-10 counts as 1e-10. `matrix` (fft // 2 + 1, bands) is what a network was trained with, and its type is
    the precision of the transform. T must be more than half a frame.
    """

    matrix: Tensor
    window: Tensor

    def __init__(self, matrix: Tensor, hop: int) -> None:
        super().__init__()
        self.fft, self.hop = 2 * (len(matrix) - 1), hop
        self.register_buffer("matrix", matrix, persistent=False)
        self.register_buffer("window", torch.hann_window(self.fft, dtype=matrix.dtype), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        spectrum = torch.stft(
            wave.to(self.matrix.dtype), self.fft, self.hop, window=self.window, pad_mode="reflect", return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return 10.0 * torch.log10((power.transpose(1, 2) @ self.matrix).clamp(min=1e-10))
