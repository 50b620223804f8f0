"""How fast HiFi-GAN V1 makes sound of mels on one core, and how long a step of its training takes.

    python benchmarks/vocoder.py [--quick]

Random weights, which take as long as trained ones; clips of 4 s; one thread. `plain` is the generator as it is trained, in
evaluation mode, all clips at once; `folded` is what the samplers use, clip by clip, with the weight norm worked in; `bf16`
is the folded one of that precision. Prints a table and, as its last line, one JSON object: `x_realtime_*` (seconds of sound
for each second of the processor, at batch 1 and 16, or 4 with --quick), `bf16_error_db` (its difference, against the wave),
`gflop_per_clip`, `gflops_matmul` (a large product of matrices on the same core), `floor_seconds_per_clip` (one over the
other), `share_of_floor`, and `train_step_seconds` (batch 4, or 2 with --quick, of 8,192 samples, both discriminators).
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from foleyray.clips import ClipSpec, MelSpec
from foleyray.modules.hifigan import HiFiGAN, HiFiGANLayout, folded, weight_normed
from foleyray.modules.vocoder import HiFiGANSettings
from foleyray.modules.vocoder_stage import VocoderStage
from foleyray.stage import Training
from foleyray.train.loop import Loop
from foleyray.train.workers import Alone

CLIP, MEL = ClipSpec(), MelSpec()


def main() -> None:
    quick = "--quick" in sys.argv
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = weight_normed(HiFiGAN(HiFiGANLayout(), MEL.bands)).eval()
    mel = torch.randn(4 if quick else 16, MEL.bands, MEL.frames(CLIP.num_samples)) * 2 - 5
    gflop, gflops = _gflop(generator, mel[:1]), _matmul_gflops()
    figures = _speeds(generator, mel) | {"gflop_per_clip": gflop, "gflops_matmul": gflops}
    figures |= {"floor_seconds_per_clip": gflop / gflops}
    figures |= {"share_of_floor": gflop / gflops * figures["x_realtime_folded_1"] / CLIP.seconds}
    figures |= {"train_step_seconds": _train_step_seconds(2 if quick else 4)}
    print("HiFi-GAN V1, clips of 4 s, 1 thread")
    for name, value in figures.items():
        print(f"  {name:24s} {value:9.3f}")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


@torch.inference_mode()
def _speeds(generator: HiFiGAN, mel: Tensor) -> dict[str, float]:
    count = len(mel)
    makers: dict[str, Callable[[Tensor], Tensor]] = {
        "plain": generator,
        "folded": folded(generator),
        "bf16": folded(generator, "bf16"),
    }
    waves = {name: make(mel[:1]) for name, make in makers.items()}
    found = {
        f"x_realtime_{name}_{size}": size
        * CLIP.seconds
        / _seconds(lambda make=make, size=size: make(mel[:size]), runs=2 if size == 1 else 1)
        for size in (1, count)
        for name, make in makers.items()
    }
    assert torch.allclose(waves["plain"], waves["folded"], atol=1e-5)
    error = (waves["bf16"] - waves["folded"]).square().mean() / waves["folded"].var()
    return found | {"bf16_error_db": float(10 * error.log10())}


def _seconds(work: Callable[[], Any], runs: int = 2) -> float:
    """The processor's, which other work on the machine hardly lengthens; the shortest of all runs."""
    found = []
    for _ in range(runs):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


@torch.inference_mode()
def _gflop(generator: HiFiGAN, mel: Tensor) -> float:
    """Multiplications and additions of all convolutions for one clip, in milliards."""
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(module, nn.Conv1d | nn.ConvTranspose1d)
        places = inputs[0].shape[-1] if isinstance(module, nn.ConvTranspose1d) else output.shape[-1]
        counts.append(2 * module.weight.numel() * places)

    hooks = [
        module.register_forward_hook(count)
        for module in generator.modules()
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d)
    ]
    generator(mel)
    for hook in hooks:
        hook.remove()
    return sum(counts) / 1e9


@torch.inference_mode()
def _matmul_gflops() -> float:
    size = 2048
    left, right = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / _seconds(lambda: left @ right) / 1e9


def _train_step_seconds(batch_size: int) -> float:
    stage = VocoderStage(HiFiGANSettings(), CLIP, MEL)
    loop = Loop(stage, Training(steps=10, batch_size=batch_size), stage.build({}), Alone(torch.device("cpu")))
    batch = {"wave": 0.1 * torch.randn(batch_size, CLIP.num_samples)}
    return _seconds(lambda: loop.advance([batch]))


if __name__ == "__main__":
    main()
