"""A stack of gated convolutions after WaveNet, without dilation, as VITS builds its encoders and couplings from it."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class WaveNet(nn.Module):
    """x (B, hidden, T), and condition (B, condition) where there is one -> sum of the layers' skips (B, hidden, T).

    The last layer has a skip only (van den Oord et al., 2016, section 2.4; Kim, Kong and Son, 2021).
    """

    def __init__(self, hidden: int, layers: int, kernel: int, condition: int = 0) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.ModuleList(
            weight_norm(nn.Conv1d(hidden, 2 * hidden, kernel, padding=kernel // 2)) for _ in range(layers)
        )
        widths = [2 * hidden] * (layers - 1) + [hidden]
        self.outputs = nn.ModuleList(weight_norm(nn.Conv1d(hidden, width, 1)) for width in widths)
        self.cond = weight_norm(nn.Conv1d(condition, 2 * hidden * layers, 1)) if condition else None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        shifts: list[Tensor] | list[None] = [None] * len(self.gates)
        if self.cond is not None:
            assert condition is not None
            shifts = list(self.cond(condition.unsqueeze(2)).chunk(len(self.gates), dim=1))
        skips = []
        for gate, output, shift in zip(self.gates, self.outputs, shifts, strict=True):
            gated = gate(x) if shift is None else gate(x) + shift
            signal, opening = gated.chunk(2, dim=1)
            out = output(torch.tanh(signal) * torch.sigmoid(opening))
            skips.append(out[:, -self.hidden :])
            if out.shape[1] > self.hidden:
                x = x + out[:, : self.hidden]
        total = skips[0]
        for skip in skips[1:]:
            total = total + skip
        return total
