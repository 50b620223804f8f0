"""The columns that trained stages make for later ones: which are needed, where they lie, and how an encoder is loaded."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from foleyray.config import fingerprint
from foleyray.corpus.codes import Encode, Recipe, join_columns, make_column
from foleyray.corpus.feed import to_batch
from foleyray.corpus.store import Columns, Store
from foleyray.progress import Progress
from foleyray.stage import MakesColumn
from foleyray.train.job import Job
from foleyray.train.workers import best_device


def with_columns(job: Job, workers: int, progress: Progress) -> Job:
    """The job on the store that holds what its stage reads: the corpus itself, or the columns made by earlier stages.

    A made column lies in `<out>/<column>/<8 hex of the checkpoint and the corpus>`, several of them joined in
    `<out>/<column>-<column>/<8 hex of the checkpoints and the corpus>`.
    """
    makers = makers_of(job)
    if not makers:
        return job
    made = [_made_by(job, maker, workers, progress) for maker in makers]
    if len(made) == 1:
        return replace(job, store=made[0])
    name = fingerprint([job.earlier[maker.name].id for maker in makers], job.store.fingerprint)
    folder = job.out / "-".join(maker.makes for maker in makers) / name
    return replace(job, store=join_columns(made, folder))


def makers_of(job: Job) -> list[MakesColumn]:
    """The earlier stages that make what the job's stage reads; none where the corpus holds all of it."""
    earlier = [stage for name, stage in job.stages.items() if name in job.earlier and isinstance(stage, MakesColumn)]
    return [stage for stage in earlier if stage.makes in job.stage.reads]


def _made_by(job: Job, maker: MakesColumn, workers: int, progress: Progress) -> Store:
    made_by = job.earlier[maker.name].id
    folder = job.out / maker.makes / fingerprint(made_by, job.store.fingerprint)
    recipe = Recipe(maker.makes, maker.reads, made_by, Loader(replace(job, stage_name=maker.name)))
    return make_column(job.store, recipe, folder, workers=workers, progress=progress)


@dataclass(frozen=True)
class Loader:
    """Loads the trained stage as an encoder, in any process and on its device."""

    job: Job

    def __call__(self) -> Encode:
        device = best_device()
        nets = self.job.restored(self.job.stage_name).to(device)
        stage = self.job.stage
        assert isinstance(stage, MakesColumn)

        def encode(columns: Columns) -> NDArray[np.generic]:
            batch = to_batch({name: torch.from_numpy(np.array(column)) for name, column in columns.items()})
            with torch.inference_mode():
                return stage.encode(nets, {name: column.to(device) for name, column in batch.items()}).cpu().numpy()

        return encode
