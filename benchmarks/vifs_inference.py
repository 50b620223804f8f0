"""How long one CPU core takes for a clip of 4 s by VIFS at the paper's size: prior, inverse flow and decoder.

    python benchmarks/vifs_inference.py [--quick]

Random weights, which take as long as trained ones. `plain` is the synthesizer as it is trained, in evaluation mode; ours is
what the sampler uses, in float32 and with the decoder in bf16. Seconds are the processor's, one thread, the shortest of several
rounds in which all take turns (with --quick one round). Where plain and ours differ by more than 1e-4 it stops. Prints a table
and, as its last line, one JSON object:

- `cpu_seconds_batch1`, `cpu_seconds_per_clip_batch16`, `cpu_seconds_bf16`, `plain_cpu_seconds_batch1`, `ratio` (plain by ours);
- the same for the decoder alone: `decoder_cpu_seconds`, `decoder_cpu_seconds_bf16`, `plain_decoder_cpu_seconds`;
- `difference`: the largest between samples of plain and ours; `bf16_log_mel_difference`: mean absolute, in nat, to float32;
- `gflop_per_clip` of all convolutions, `gflops_float32` and `gflops_bf16` that a large convolution reaches on this core, and
  `limit` and `limit_bf16`: the seconds that those would take if every multiplication of the definition were made.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.audio.mel import Mel
from foleyray.clips import DCASE7, ClipSpec, MelSpec
from foleyray.systems.vifs.layout import Layout
from foleyray.systems.vifs.synthesizer import Maker, Synthesizer

CLIP, MEL, LAYOUT = ClipSpec(), MelSpec(), Layout()
FRAMES, CLASSES, BATCH = MEL.frames(CLIP.num_samples), len(DCASE7.names), 16
Draws = tuple[Tensor, Tensor, Tensor, Tensor]


def main() -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        figures = measure(rounds=1 if "--quick" in sys.argv else 5)
    print("VIFS at the paper's size, clips of 4 s, 1 thread")
    for name, value in figures.items():
        print(f"  {name:30s} {value:10.4g}")
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


def measure(rounds: int) -> dict[str, float]:
    net = _lively()
    ours, halved = net.for_sampling(), net.for_sampling("bf16")
    draws = _draws(BATCH)
    one: Draws = tuple(part[:1] for part in draws)  # type: ignore[assignment]
    latent = ours.from_prior(torch.randn(1, LAYOUT.hidden, FRAMES), one[3]), ours.condition(one[3])
    seconds = _shortest(
        {
            "plain_cpu_seconds_batch1": lambda: net.make(*one),
            "cpu_seconds_batch1": lambda: ours.make(*one),
            "cpu_seconds_bf16": lambda: halved.make(*one),
            "plain_decoder_cpu_seconds": lambda: net.decoder(*latent),
            "decoder_cpu_seconds": lambda: ours.decoder(*latent),
            "decoder_cpu_seconds_bf16": lambda: halved.decoder(*latent),
        },
        rounds,
    )
    seconds["cpu_seconds_per_clip_batch16"] = _seconds(lambda: ours.make(*draws)) / BATCH
    gflop, gflops, gflops_bf16 = _gflop(net, one), _gflops(torch.float32, rounds), _gflops(torch.bfloat16, rounds)
    return {
        **seconds,
        "ratio": seconds["plain_cpu_seconds_batch1"] / seconds["cpu_seconds_batch1"],
        **_differences(net, ours, halved, one),
        "gflop_per_clip": gflop,
        "gflops_float32": gflops,
        "gflops_bf16": gflops_bf16,
        "limit": gflop / gflops,
        "limit_bf16": gflop / gflops_bf16,
    }


def _lively() -> Synthesizer:
    """Random weights of lengths with which the waves have an amplitude as of trained ones."""
    torch.manual_seed(0)
    net = Synthesizer(LAYOUT, MEL.fft // 2 + 1, FRAMES, CLASSES).eval()
    for name, parameter in net.decoder.named_parameters():
        if name.endswith("original0"):
            parameter.mul_(3.0 if name.startswith("ups") else 1.6)
    return net


def _draws(count: int) -> Draws:
    """What clips begin with: summary, noise, noise scale, label."""
    shape = LAYOUT.hidden, FRAMES
    return torch.randn(count, shape[0]), torch.randn(count, *shape), torch.full((count,), 0.667), torch.arange(count) % CLASSES


def _shortest(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Seconds of the processor for each, in turns, after one round that does not count."""
    found = dict.fromkeys(works, float("inf"))
    for counts in [False] + [True] * rounds:
        for name, work in works.items():
            seconds = _seconds(work)
            if counts:
                found[name] = min(found[name], seconds)
    return found


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _differences(net: Synthesizer, ours: Maker, halved: Maker, draws: Draws) -> dict[str, float]:
    plain, wave, coarse = net.make(*draws), ours.make(*draws), halved.make(*draws)
    difference = float((plain - wave).abs().max())
    assert difference < 1e-4 < plain.std(), difference
    mel = Mel(MEL)
    log_mels = [mel(each[:, : CLIP.num_samples]) for each in (wave, coarse)]
    return {"difference": difference, "bf16_log_mel_difference": float(F.l1_loss(*log_mels))}


def _gflop(net: Synthesizer, draws: Draws) -> float:
    """Multiplications and additions of all convolutions for one clip by their definition, in milliards."""
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(module, nn.Conv1d | nn.ConvTranspose1d)
        places = inputs[0].shape[-1] if isinstance(module, nn.ConvTranspose1d) else output.shape[-1]
        counts.append(2 * module.weight.numel() * places)

    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv1d | nn.ConvTranspose1d)]
    hooks = [module.register_forward_hook(count) for module in convolutions]
    net.make(*draws)
    for hook in hooks:
        hook.remove()
    return sum(counts) / 1e9


def _gflops(dtype: torch.dtype, rounds: int) -> float:
    """What oneDNN reaches in one of the decoder's own layers (128 channels, 7 taps), laid out as it likes it best."""
    channels, taps, length = 128, 7, 22_016
    x, weight = torch.randn(1, channels, 1, length), torch.randn(channels, channels, 1, taps)
    x, weight = (part.to(dtype, memory_format=torch.channels_last) for part in (x, weight))
    seconds = _shortest({"conv": lambda: F.conv2d(x, weight, padding=(0, taps // 2))}, 3 * rounds)["conv"]
    return 2 * channels**2 * taps * length / seconds / 1e9


if __name__ == "__main__":
    main()
