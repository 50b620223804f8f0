"""Banks of targets: the training clips that are most like their class, as the scorer hears them.

<searched>/banks/<Class>-<8 hex>.safetensors      `vectors` float32 (N, D) of unit length, the most typical first
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from foleyray.audio.wav import to_float
from foleyray.config import UserError, fingerprint
from foleyray.corpus.store import Store, open_store
from foleyray.files import write_whole
from foleyray.progress import Progress
from foleyray.search.benches import Benches
from foleyray.search.config import ChoosingConfig
from foleyray.search.evaluator import Evaluator
from foleyray.selection import Bank

FOLDER = "banks"
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class BankPlan:
    """Whose bank: a class, as the scorer of a candidate hears it, by the scorer's checkpoint id."""

    label: int
    candidate: int
    scorer: str


@dataclass(frozen=True)
class BankJob:
    """Hears the training clips of a class."""

    plan: BankPlan
    store: Path

    def run(self, evaluator: Evaluator) -> Vectors:
        store = open_store(self.store)
        assert evaluator.scorer is not None
        scorer, rate_hz = evaluator.scorer(self.plan.candidate), store.clip.sample_rate_hz
        batches = store.stream("train", ["wave"], self.plan.label, evaluator.batch_size)
        heard = [scorer.embed_audio(torch.from_numpy(to_float(batch["wave"])), rate_hz).numpy() for batch in batches]
        return np.concatenate(heard) if heard else np.empty((0, scorer.dim), np.float32)


def typical(vectors: Vectors, size: int) -> Vectors:
    """Up to `size` of the vectors (N, D): those with the largest mean cosine to all of them, which is that to their centre."""
    order = np.argsort(-(vectors.astype(np.float64) @ vectors.mean(axis=0, dtype=np.float64)), kind="stable")
    return vectors[order[:size]]


def make_banks(
    benches: Benches, plans: Mapping[str, BankPlan], store: Store, out: Path, wanted: ChoosingConfig, progress: Progress
) -> dict[str, tuple[Bank, Vectors]]:
    """Class -> its bank, by a path below `out`, and its vectors; those that are on disk are read.

    Raises UserError where a class has no training clip.
    """
    files = {name: _file(name, plan, store, wanted) for name, plan in plans.items()}
    missing = [name for name, file in files.items() if not (out / file).is_file()]
    jobs = [BankJob(plans[name], store.path.resolve()) for name in missing]
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    with progress.begin("banks of targets", len(files), "classes", len(files) - len(missing)) as task:
        for number, vectors in benches.work(jobs):
            name = missing[number]
            if not len(vectors):
                raise UserError(f"{name} has no clip in the split train, so no bank of targets; choose by text alone")
            write_whole(out / files[name], save({"vectors": np.ascontiguousarray(typical(vectors, wanted.bank_size))}))
            task.advance(1, name)
    return {name: _bank(file, load_file(out / file)["vectors"], wanted) for name, file in files.items()}


def _file(name: str, plan: BankPlan, store: Store, wanted: ChoosingConfig) -> str:
    return f"{FOLDER}/{name}-{fingerprint(plan.scorer, store.fingerprint, wanted.bank_size)}.safetensors"


def _bank(file: str, vectors: Vectors, wanted: ChoosingConfig) -> tuple[Bank, Vectors]:
    return Bank(vectors=file, size=len(vectors), order=wanted.bank_order), vectors
