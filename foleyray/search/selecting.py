"""Selection as serving does it, on sounds that are made for it: the same rule, the same seeds, the same targets."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foleyray.search.evaluator import Evaluator, Params
from foleyray.search.scoring import cosines
from foleyray.selection import Pick, Picking, Selection, candidate_seed

Targets = NDArray[np.float32]


def select(
    evaluator: Evaluator,
    label: int,
    candidate: int,
    params: Params,
    seeds: Sequence[int],
    selection: Selection,
    bank: Targets | None,
) -> Iterator[tuple[Tensor, list[Pick]]]:
    """The sounds of these requests, in batches float32 (B, T), each with how it was picked; `bank` (N, D) is the selection's.

    Raises NotFinite.
    """
    targets = evaluator.target(label, candidate)[None] if bank is None else bank
    for begin in range(0, len(seeds), evaluator.batch_size):
        attempts = [Picking(selection, seed) for seed in seeds[begin : begin + evaluator.batch_size]]
        best: dict[int, Tensor] = {}
        while going := {row: attempt.wanted for row, attempt in enumerate(attempts) if attempt.wanted}:
            asked = [candidate_seed(attempts[row].seed, number) for row, wanted in going.items() for number in wanted]
            waves = torch.cat(list(evaluator.waves(label, candidate, params, asked)))
            vectors = evaluator.vectors(candidate, waves)
            for place, (row, wanted) in enumerate(going.items()):
                own = slice(place * selection.candidates, (place + 1) * selection.candidates)
                attempts[row].hear(cosines(vectors[own], targets[attempts[row].target][None])[:, 0].tolist())
                picked = _pick(attempts[row]).candidate
                if picked in wanted:
                    best[row] = waves[own][picked - wanted.start].clone()
        yield torch.stack([best[row] for row in range(len(attempts))]), [_pick(attempt) for attempt in attempts]


def _pick(attempt: Picking) -> Pick:
    assert attempt.pick is not None
    return attempt.pick
