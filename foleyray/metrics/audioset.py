"""The front end of the AudioSet networks VGGish and YAMNet: log-mel patches with TensorFlow's conventions.

Sources: Hershey et al., "CNN Architectures for Large-Scale Audio Classification" (2017), section 3.1, and the published
front end of the two, which differ in the offset below the logarithm only.
"""

import torch
from torch import Tensor, nn

SAMPLE_RATE_HZ = 16_000
WINDOW, HOP, FFT = 400, 160, 512
BANDS, LOW_HZ, HIGH_HZ = 64, 125.0, 7_500.0
PATCH = 96


def mel_matrix() -> Tensor:
    """float32 (fft // 2 + 1, bands): triangles that are linear in mel, not in Hz as elsewhere, and of unit height."""
    mel = 1127.0 * torch.log1p(torch.arange(FFT // 2 + 1, dtype=torch.float64) * SAMPLE_RATE_HZ / FFT / 700.0)
    edge_hz = torch.tensor([LOW_HZ, HIGH_HZ], dtype=torch.float64)
    low, high = (1127.0 * torch.log1p(edge_hz / 700.0)).tolist()
    edges = torch.linspace(low, high, BANDS + 2, dtype=torch.float64)
    rising = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0.0).float()


class LogMelPatches(nn.Module):
    """wave (B, T) at 16 kHz -> log(mel + offset) in patches (B, F, 96, 64) of (time, mel), the wave zero-padded at its end.

    25 ms periodic Hann frames every 10 ms, not centred, 512-point magnitude spectrum; a patch begins every `hop` frames
    and the last one is completed with zeros, so F >= 1 for any T.
    """

    matrix: Tensor
    window: Tensor

    def __init__(self, offset: float, hop: int) -> None:
        super().__init__()
        self.offset, self.hop = offset, hop
        self.register_buffer("matrix", mel_matrix(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=True), persistent=False)

    @property
    def silence(self) -> float:
        """What the log-mel of digital silence is filled with."""
        return float(torch.log(torch.tensor(self.offset)))

    def forward(self, wave: Tensor) -> Tensor:
        frames = nn.functional.pad(wave, (0, self.padding(wave.shape[1]))).unfold(1, WINDOW, HOP)
        magnitude = torch.fft.rfft(frames * self.window, n=FFT).abs()
        logmel = torch.log(magnitude @ self.matrix + self.offset)
        return logmel.unfold(1, PATCH, self.hop).transpose(2, 3)

    def padding(self, num_samples: int) -> int:
        """Zeros that complete the last patch: 5,360 for the 64,000 samples of 4 s and a hop of 48."""
        first, step = WINDOW + (PATCH - 1) * HOP, self.hop * HOP
        return max(first - num_samples, 0) or -(num_samples - first) % step
