"""What one clip's codes cost from a PixelSNAIL of the baseline's size: nothing computed twice, against the plain way.

    python benchmarks/pixelsnail_sampling.py [--quick]

Random weights, one thread; seconds are processor time, so that other work beside it disturbs little. The plain way is what
the baseline does: for every place, one forward over the rows so far. A clip of it takes hours, so forwards over some numbers
of rows are timed, those between are interpolated, and each counts once for every column. The forwards are ours, without
one-hot words and with weight norm worked out beforehand, and so faster than the baseline's. The cached sampler makes whole
clips, each batch in a process of its own. `--quick`: grids of 5 rows for both, and batches of 1 and 16.

Prints a table and, as its last line, one JSON object. `ratio_batch<B>` is the plain way's seconds a clip over the cached
sampler's. `limit_batch<B>` is the ratio if nothing took time but the arithmetic that is left, at the speed of a large product
of matrices (`gflops`), or for the columns of a lone clip the reading of their weights (`gigabytes_per_second`), where that is
slower. `max_logit_difference` is between the two ways on a random grid; `peak_memory_gib` is the whole process at the largest
batch. With a GPU, `cuda_tokens_per_second` at the largest batch.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch.nn.utils import parametrize

from foleyray.modules.pixelsnail import PixelSNAIL, PixelSNAILSettings
from foleyray.modules.row_weights import RowWeights
from foleyray.modules.rows import RowSampler

WORDS, CLASSES, COLS = 512, 7, 86
PRECISIONS = ("float32", "bf16")


def main(quick: bool) -> None:
    torch.set_num_threads(1)
    rows, batches = (5, (1, 16)) if quick else (20, (1, 4, 16))
    prior = network(rows)
    figures: dict[str, float] = {"gflops": gflops(), "gigabytes_per_second": gigabytes_per_second()}
    limits = least_seconds(prior, figures["gflops"], figures["gigabytes_per_second"])
    for precision in PRECISIONS:
        for batch in batches:
            command = [sys.executable, __file__, "sample", str(rows), precision, str(batch)]
            found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            key = f"batch{batch}" if precision == "float32" else f"batch{batch}_{precision}"
            figures[f"seconds_{key}"] = found["seconds"]
            figures["peak_memory_gib" if precision == "float32" else f"peak_memory_gib_{precision}"] = found["gib"]
            print(f"  cached, batch {batch:2d}, {precision:8s} {found['seconds']:8.2f} s a clip", flush=True)
    for precision, difference in logit_differences(prior).items():
        figures["max_logit_difference" if precision == "float32" else f"max_logit_difference_{precision}"] = difference
    plain = figures["seconds_plain"] = plain_seconds(prior, quick)
    for name, seconds in list(figures.items()):
        if name.startswith("seconds_batch"):
            figures[name.replace("seconds", "ratio")] = plain / seconds
    figures |= {f"limit_batch{batch}": plain / limits[batch == 1] for batch in batches}
    if torch.cuda.is_available():
        figures["cuda_tokens_per_second"] = cuda_tokens_per_second(prior, batches[-1])
    for name, value in figures.items():
        print(f"  {name:30s} {value:12.6g}")
    print(json.dumps({name: float(f"{value:.6g}") for name, value in figures.items()} | {"rows": rows}))


def network(rows: int) -> PixelSNAIL:
    """Of the baseline's size, with a last layer that makes some words likelier than others."""
    torch.manual_seed(0)
    prior = PixelSNAIL(PixelSNAILSettings(), (rows, COLS), WORDS, CLASSES).eval().requires_grad_(False)
    prior.out.parametrizations.weight.original0.mul_(4)
    return prior


def processor_seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def gflops() -> float:
    left, right = torch.randn(2, 2048, 2048)
    return 2 * 2048**3 / min(processor_seconds(lambda: left @ right) for _ in range(5)) / 1e9


def gigabytes_per_second() -> float:
    """Of reading more than the caches hold."""
    numbers = torch.randn(50_000_000)
    return 4 * len(numbers) / min(processor_seconds(numbers.sum) for _ in range(5)) / 1e9


def least_seconds(prior: PixelSNAIL, gflops: float, gigabytes_per_second: float) -> tuple[float, float]:
    """Seconds a clip that arithmetic alone would take in a large batch, and arithmetic or reading alone for a lone clip."""
    weights, (rows, cols) = RowWeights(prior, torch.float32), prior.grid
    causal = (weights.first, weights.second)
    depth = prior.settings.kernel[0] - 1
    above = sum(kernel.to_dense().numel() for part in causal for kernel in part.above)
    seen = sum(min(row, depth) for row in range(rows)) / depth
    left = sum(part.left.numel() for part in causal)
    single = weights.out[1].numel()
    for part in weights.attention:
        pairs = (part.key, part.query, part.keys_values, part.queries, part.result)
        single += sum(pair[1].numel() for pair in pairs)
        single += part.from_input.numel() + part.from_output.numel() + part.found.numel()
    above_seconds = 2 * above * cols * seen / gflops / 1e9
    column_seconds = 2 * (left + single) * rows * cols / gflops / 1e9
    # The columns go through the causal convolutions by twos, so that these weights are read every other time.
    reading = 4 * (left / 2 + single) * rows * cols / gigabytes_per_second / 1e9
    return above_seconds + column_seconds, above_seconds + max(column_seconds, reading)


def sample(rows: int, precision: str, batch: int) -> None:
    sampler = RowSampler(network(rows), torch.device("cpu"), precision)  # type: ignore[arg-type]
    labels = torch.arange(batch) % CLASSES
    ones = [1.0] * batch
    seconds = processor_seconds(lambda: sampler.sample(labels, ones, [WORDS] * batch, ones, range(batch))) / batch
    print(json.dumps({"seconds": seconds, "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))


def logit_differences(prior: PixelSNAIL) -> dict[str, float]:
    codes = torch.randint(WORDS, (1, *prior.grid), generator=torch.Generator().manual_seed(0))
    labels, cpu = torch.tensor([3]), torch.device("cpu")
    plain = prior(codes, labels)
    return {name: (RowSampler(prior, cpu, name).logits(codes, labels) - plain).abs().max().item() for name in PRECISIONS}


def plain_seconds(prior: PixelSNAIL, quick: bool) -> float:
    """A clip's: the sum over its rows of a forward over the rows so far, as often as there are columns."""
    rows, cols = prior.grid
    for module in prior.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    codes, labels = torch.zeros(1, rows, cols, dtype=torch.long), torch.tensor([3])
    prior(codes[:, :1], labels)
    timed = {1: 0.0, 3: 0.0, 5: 0.0} if quick else {1: 0.0, 5: 0.0, 10: 0.0, 15: 0.0, 20: 0.0}
    for count in timed:
        timed[count] = min(processor_seconds(lambda count=count: prior(codes[:, :count], labels)) for _ in range(2))
        print(f"  plain forward over {count:2d} rows     {timed[count]:8.2f} s", flush=True)
    total = timed[1]
    for low, high in pairwise(timed):
        slope = (timed[high] - timed[low]) / (high - low)
        total += sum(timed[low] + slope * (row - low) for row in range(low + 1, high + 1))
    return total * cols


def cuda_tokens_per_second(prior: PixelSNAIL, batch: int) -> float:
    sampler = RowSampler(prior, torch.device("cuda"))
    labels, ones = torch.arange(batch) % CLASSES, [1.0] * batch
    begun = time.perf_counter()
    codes = sampler.sample(labels, ones, [WORDS] * batch, ones, range(batch))
    return codes.numel() / (time.perf_counter() - begun)


if __name__ == "__main__":
    if sys.argv[1:2] == ["sample"]:
        sample(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        main("--quick" in sys.argv)
