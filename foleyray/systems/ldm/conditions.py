"""What a class is to the denoiser: a row of a table, the vector of its sentence, or that vector through the tuning layer."""

import torch
from torch import Tensor, nn

from foleyray.systems.ldm.tuning import TuningLayer


class LabelCondition(nn.Module):
    """Classes (B,) -> conditions (B, D), learnt; the last row of the table stands for no class."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_classes + 1, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)  # as long as the vectors of clap

    @property
    def unconditional(self) -> Tensor:
        """(D,)"""
        return self.table.weight[-1]

    def forward(self, label: Tensor) -> Tensor:
        found: Tensor = self.table(label)
        return found


class Nothing(nn.Module):
    """What the denoiser is told where it is told nothing."""

    unconditional: Tensor
    """(D,)"""

    def __init__(self, unconditional: Tensor) -> None:
        super().__init__()
        self.register_buffer("unconditional", unconditional)


class TextCondition(Nothing):
    """Classes (B,) -> conditions (B, D): their sentences by clap, through the tuning layer where there is one."""

    sentences: Tensor

    def __init__(self, sentences: Tensor, unconditional: Tensor, tuning: TuningLayer | None) -> None:
        """sentences (classes, D) in index order, unconditional (D,) is the vector of the empty text, which is never tuned"""
        super().__init__(unconditional)
        self.register_buffer("sentences", sentences)
        self.tuning = tuning

    def forward(self, label: Tensor, text: Tensor | None = None) -> Tensor:
        """`text` (B, D): vectors of other sentences in the place of the classes' own."""
        text = self.sentences[label] if text is None else text
        return self.tuning(text, label) if self.tuning else text


def forget_some(condition: Tensor, unconditional: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """condition (B, D) -> the same, each with probability `share` replaced by `unconditional` (D,)."""
    forgotten = torch.rand(len(condition), 1, generator=generator, device=condition.device) < share
    return torch.where(forgotten, unconditional, condition)
