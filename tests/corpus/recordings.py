"""Small seeded recordings on disk, and a corpus decoded in this process."""

from pathlib import Path

import numpy as np
import soundfile

from foleyray.clips import ClipSpec, MelSpec
from foleyray.corpus import build, shards
from foleyray.corpus.drafts import drafted
from foleyray.corpus.manifest import read_manifest
from foleyray.corpus.store import Store
from foleyray.progress import Quiet

CLIP = ClipSpec(sample_rate_hz=8_000, seconds=0.5)
MEL = MelSpec(sample_rate_hz=8_000, fft=256, hop=64, window=256, bands=16, high_hz=4_000)


def noise(seed: int, seconds: float = 0.5, rate_hz: int = 8_000, channels: int = 1, level: float = 0.2) -> np.ndarray:
    return level * np.random.default_rng(seed).uniform(-1, 1, (round(seconds * rate_hz), channels)).astype(np.float32)


def write_noise(file: Path, seed: int, rate_hz: int = 8_000, **kwargs) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, noise(seed, rate_hz=rate_hz, **kwargs), rate_hz)
    return file


def write_corpus(folder: Path, classes: dict[str, int]) -> Path:
    """`classes` maps a folder, such as `train/Rain`, to its number of recordings."""
    for place, (name, count) in enumerate(classes.items()):
        for number in range(count):
            write_noise(folder / name / f"{Path(name).name}_{number}.wav", 1000 * place + number)
    return folder


def make_store(source: Path | str, out: Path, max_rejected: float = 0.0, clip: ClipSpec = CLIP, mel: MelSpec = MEL) -> Store:
    """What `build` makes; its decoding is done here beforehand, in its draft, so that no Ray is needed."""
    decode_draft(source, out, clip=clip, mel=mel)
    return build.build(str(source), out, clip=clip, mel=mel, max_rejected=max_rejected, progress=Quiet())


def decode_draft(source: Path | str, out: Path, first: int | None = None, clip: ClipSpec = CLIP, mel: MelSpec = MEL) -> None:
    """Leaves a draft as an interrupted build does, with the first shards done, or all of them."""
    manifest = read_manifest(str(source))
    plan = build.plan_shards(manifest, clip, mel)
    try:
        with drafted(out, manifest.fingerprint(clip, mel)) as draft:
            done = shards.done_shards(draft)
            for number in list(plan)[:first]:
                if number not in done:
                    block = shards.block_of(number, *zip(*plan[number], strict=True))
                    shards.decode_shard(block, manifest.filesystem, draft, clip, mel)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
