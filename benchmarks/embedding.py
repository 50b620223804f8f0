"""How fast each embedder listens, and how much memory a large store takes.

    python benchmarks/embedding.py [--quick]

Networks have their published sizes and random weights, which cost what the published ones cost. Clips are noise of 4 s at
22,050 Hz; the time is that of `embed_clips`, resampling included, with all cores.

Then a store of 10,000 such clips (made on the spot, 1.8 GB; 1,000 with `--quick`) is listened to with yamnet, or with logmel
where FOLEYRAY_WEIGHTS holds no yamnet: for its statistics and for every row in one process, and for its statistics as a Ray
Data map on all cores. Memory is the peak of resident memory of the process (`statistics_mib`, `rows_mib`), and for Ray the peak
of the proportional memory (PSS) of all its processes but the object store (`ray_mib`).

Prints a table and, as its last line, one JSON object.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

RATE, SAMPLES, FILE_CLIPS = 22_050, 88_200, 500
CLIPS = {"logmel": 128, "yamnet": 128, "vggish:t7": 32, "vggish:16k": 64, "panns": 32, "clap": 16, "mert": 16}
TASKS = ("statistics", "rows", "ray")


def main() -> None:
    quick = "--quick" in sys.argv
    figures: dict[str, float] = {}
    for spec, count in CLIPS.items():
        figures[f"{spec}_clips_per_second"] = round(speed(spec, count // 4 if quick else count), 1)
        print(f"  {spec:12s} {figures[f'{spec}_clips_per_second']:8.1f} clips/s", flush=True)
    num_clips = 1_000 if quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "store", num_clips)
        for task in TASKS:
            command = [sys.executable, __file__, task, str(store)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            figures |= {f"{task}_mib": found["mib"], f"{task}_store_clips_per_second": found["clips_per_second"]}
            print(
                f"  {num_clips} clips, {task:10s} {found['mib']:6.0f} MiB {found['clips_per_second']:8.1f} clips/s", flush=True
            )
    print(json.dumps(figures | {"store_clips": num_clips, "store_embedder": heavier()}))


def speed(spec: str, count: int) -> float:
    """Clips per second, the first batch apart."""
    from foleyray.metrics.embeddings import embed_clips

    embedder = BUILDERS[spec.partition(":")[0]](spec)
    waves = (0.1 * np.random.default_rng(0).standard_normal((count, SAMPLES))).astype(np.float32)
    embed_clips(embedder, waves[:4], RATE)
    begun = time.perf_counter()
    embed_clips(embedder, waves, RATE)
    return count / (time.perf_counter() - begun)


def _logmel(spec: str) -> Any:
    from foleyray.metrics.logmel import LogMel

    return LogMel("active")


def _yamnet(spec: str) -> Any:
    from foleyray.metrics.yamnet import Network, YamNet

    torch.manual_seed(0)
    return YamNet(Network().eval(), "all", "random")


def _vggish(spec: str) -> Any:
    from foleyray.metrics.vggish import Network, VGGish

    return VGGish(Network().eval(), spec.partition(":")[2], "random")


def _panns(spec: str) -> Any:
    from foleyray.metrics.panns import Network, Panns

    return Panns(Network().eval(), torch.rand(513, 64), "cnn14", "random")


def _clap(spec: str) -> Any:
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    from foleyray.metrics.clap import Clap
    from foleyray.pretrained.clap import PublishedClap, read_texts

    with tempfile.TemporaryDirectory() as folder:
        ClapFeatureExtractor(sampling_rate=48_000, truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
        return Clap(PublishedClap(ClapModel(ClapConfig()).eval(), read_texts(Path(folder)), "random"), "folder", "cpu")


def _mert(spec: str) -> Any:
    from transformers import HubertConfig, HubertModel

    from foleyray.metrics.mert import Mert

    return Mert(HubertModel(HubertConfig()).eval(), "last", "random")


BUILDERS: dict[str, Callable[[str], Any]] = {
    "logmel": _logmel,
    "yamnet": _yamnet,
    "vggish": _vggish,
    "panns": _panns,
    "clap": _clap,
    "mert": _mert,
}


def write_store(folder: Path, num_clips: int) -> Path:
    """A store of noise in one class, all held out."""
    from foleyray.clips import ClassList, ClipSpec, MelSpec
    from foleyray.corpus.store import FORMAT, SPLITS, StoreCard

    generator = np.random.default_rng(0)
    (folder / "held_out").mkdir(parents=True)
    for number in range(num_clips // FILE_CLIPS):
        waves = generator.integers(-9_000, 9_000, (FILE_CLIPS, SAMPLES), dtype=np.int16)
        columns = {
            "id": [f"{number}-{index}" for index in range(FILE_CLIPS)],
            "label": pa.array([0] * FILE_CLIPS, pa.int64()),
            "wave": pa.FixedShapeTensorArray.from_numpy_ndarray(waves),
        }
        pq.write_table(
            pa.table(columns), folder / "held_out" / f"{number:06d}.parquet", row_group_size=32, use_dictionary=False
        )
    card = StoreCard(
        format=FORMAT,
        fingerprint="0" * 8,
        listing="",
        source="noise",
        clip=ClipSpec(),
        mel=MelSpec(),
        classes=ClassList(names=("Noise",)),
        counts={split: {"Noise": num_clips if split == "held_out" else 0} for split in SPLITS},
        rejected={},
        warnings=0,
        notes=(),
        version="0",
    )
    (folder / "store.json").write_text(card.model_dump_json())
    return folder


def listen(task: str, store: str) -> None:
    """One task in a process of its own; its last line is a JSON object."""
    from foleyray.evaluation.embedding import Listening, embed_place, reference_of
    from foleyray.evaluation.places import find_place
    from foleyray.progress import Quiet

    place = find_place(f"{store}:held_out")
    listening = Listening(heavier(), workers=os.cpu_count() if task == "ray" else 0)
    peak = Peak() if task == "ray" else None
    begun = time.perf_counter()
    (embed_place if task == "rows" else reference_of)(place, listening, Quiet())
    seconds = time.perf_counter() - begun
    mib = peak.mib() if peak else _status(os.getpid(), "VmHWM")
    print(json.dumps({"mib": round(mib), "clips_per_second": round(place.num_clips / seconds, 1)}))


def heavier() -> str:
    """yamnet where its weights are found, else logmel, whose rows are a tenth as wide."""
    from foleyray.config import UserError
    from foleyray.metrics.embedder import find

    try:
        find("yamnet:all", None, "cpu")
    except UserError:
        return "logmel:all"
    return "yamnet:all"


class Peak(threading.Thread):
    """The largest sum of PSS of this process and everything it started, looked at twice a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest, self.is_over = 0.0, False
        self.start()

    def run(self) -> None:
        while not self.is_over:
            self.highest = max(self.highest, sum(_pss(pid) for pid in family(os.getpid())))
            time.sleep(0.5)

    def mib(self) -> float:
        self.is_over = True
        return self.highest


def family(root: int) -> set[int]:
    """A process and all its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {root}
    while new := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= new
    return found


def _pss(pid: int) -> float:
    """Without what is shared with the object store."""
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    except OSError:
        return 0.0
    return (int(lines["Pss"].split()[0]) - int(lines["Pss_Shmem"].split()[0])) / 1024


def _status(pid: int, key: str) -> float:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(lines[key].split()[0]) / 1024


if __name__ == "__main__":
    if len(sys.argv) == 3:
        listen(*sys.argv[1:])
    else:
        main()
