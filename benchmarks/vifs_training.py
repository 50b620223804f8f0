"""How long a step of VIFS takes to train at the paper's size, batch 2, pieces of 8,192 samples, against the plain way.

    python benchmarks/vifs_training.py [--quick]

Both ways train the same nets with the same losses. The plain way is the usual one: real waves are judged as often as made ones
at the lower rates, gradients of the discriminators are computed in the synthesizer's turn as well, real and made waves are
turned in phase apart. Ours judges each real wave once, computes no gradient that is not used and turns both together. Seconds
are the processor's, one thread, the shortest of several steps in which both take turns (--quick: the tiny nets, one step).
Prints a table and, as its last line, one JSON object: `cpu_seconds_step`, `plain_cpu_seconds_step`, `ratio` (plain by ours),
`relative_difference` of the generator's loss (the phases are turned by other draws, so it is not zero).
"""

import json
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.clips import DCASE7
from foleyray.modules.discriminators import Judgement
from foleyray.stage import Batch, Losses, Step
from foleyray.system import read_config
from foleyray.systems.vifs.config import Config
from foleyray.systems.vifs.stages import VifsStage, judged
from foleyray.train.loop import Loop
from foleyray.train.workers import Alone

BATCH = 2


def main() -> None:
    torch.set_num_threads(1)
    is_quick = "--quick" in sys.argv
    _, config = read_config(f"systems/vifs/{'tiny' if is_quick else 'paper'}.yaml")
    assert isinstance(config, Config)
    stage, batch = VifsStage(config, len(DCASE7.names)), _batch(config)
    torch.manual_seed(0)
    loop = Loop(stage, config.training["vifs"], stage.build({}), Alone(torch.device("cpu")))
    ways: dict[str, Callable[[], Losses]] = {
        "cpu_seconds_step": lambda: loop.advance([batch])["synthesizer"],
        "plain_cpu_seconds_step": lambda: plain_step(stage, loop, batch),
    }
    figures: dict[str, float] = dict.fromkeys(ways, float("inf"))
    with torch.no_grad():
        ours = stage.loss("synthesizer", loop.nets, batch, _moment())["loss"]
        plain = plain_losses(stage, loop.nets, *stage._reconstructed(loop.nets["synthesizer"], batch, _moment()))["loss"]
    for counts in [False] + [True] * (1 if is_quick else 3):
        for name, way in ways.items():
            begun = time.process_time()
            way()
            if counts:
                figures[name] = min(figures[name], time.process_time() - begun)
    figures["ratio"] = figures["plain_cpu_seconds_step"] / figures["cpu_seconds_step"]
    figures["relative_difference"] = float(abs(ours - plain) / ours)
    for name, value in figures.items():
        print(f"  {name:25s} {value:10.4g}")
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


def _batch(config: Config) -> Batch:
    wave = 0.1 * torch.randn(BATCH, config.clip.num_samples, generator=torch.Generator().manual_seed(0))
    return {"wave": wave, "label": torch.arange(BATCH)}


def _moment() -> Step:
    return Step(0, 1, torch.Generator().manual_seed(0))


def plain_step(stage: VifsStage, loop: Loop, batch: Batch) -> Losses:
    """Discriminators by the waves just made, then the synthesizer; all gradients are computed, whether they are used or not."""
    loop.nets.requires_grad_(True)
    made = stage._reconstructed(loop.nets["synthesizer"], batch, _moment())
    losses: Losses = {}
    for turn in ("discriminators", "synthesizer"):
        loop.optimizers[turn].zero_grad()
        losses = _judging(stage, loop.nets, *made[1:]) if turn == "discriminators" else plain_losses(stage, loop.nets, *made)
        losses["loss"].backward()
        loop.optimizers[turn].step()
    return losses


def _judging(stage: VifsStage, nets: nn.ModuleDict, real: Tensor, made: Sequence[Tensor]) -> Losses:
    real, seen = _turned(stage, real, [wave.detach() for wave in made], _moment())
    pairs = zip(_tiled(nets, real), judged(nets, *seen), strict=True)
    return {"loss": sum((1 - true).square().mean() + fake.square().mean() for (true, _), (fake, _) in pairs)}


def plain_losses(stage: VifsStage, nets: nn.ModuleDict, found: Losses, real: Tensor, made: Sequence[Tensor]) -> Losses:
    """Of the synthesizer, with a graph of the discriminators' weights."""
    real, seen = _turned(stage, real, made, _moment())
    of_real, of_made = _tiled(nets, real), judged(nets, *seen)
    adversarial = sum((1 - score).square().mean() for score, _ in of_made)
    pairs = [pair for (_, a), (_, b) in zip(of_made, of_real, strict=True) for pair in zip(a, b, strict=True)]
    features = sum(F.l1_loss(fake, true.detach()) for fake, true in pairs)
    return {"loss": found["loss"] + adversarial + stage.config.feature_weight * features}


def _turned(stage: VifsStage, real: Tensor, made: Sequence[Tensor], moment: Step) -> tuple[Tensor, list[Tensor]]:
    assert stage.phase_aug
    *lower, full = made
    rotation = stage.phase_aug.draw(len(real), moment.generator, real.device)
    return stage.phase_aug(real, rotation), [*lower, stage.phase_aug(full, rotation)]


def _tiled(nets: nn.ModuleDict, real: Tensor) -> list[Judgement]:
    """Real waves as often as made ones: at the lower rates twice."""
    bands = [bank(real)[:, 0] for bank in nets["bands"].banks]
    return judged(nets, *bands, real)


if __name__ == "__main__":
    main()
