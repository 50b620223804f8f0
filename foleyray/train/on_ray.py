"""Training of one stage by Ray Train workers: any number of them, restarted where one dies.

Our own checkpoints hold the truth. Ray Train brings the processes, the process group and the shards of the corpus, and
starts everything anew when a worker is lost; each attempt then goes on from the newest step on the shared disk.
"""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import ray
import ray.train
import torch
from ray.actor import ActorHandle
from ray.train import DataConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from foleyray.config import UserError
from foleyray.progress import Progress
from foleyray.train.feeding import READ_CLIPS, columns_of, feed_of, reference_batches
from foleyray.train.job import Job
from foleyray.train.relay import Board, Relay, shown
from foleyray.train.session import train_stage
from foleyray.train.workers import Group

MAX_FAILURES = 3
"""Worker groups that may be lost before a training is given up."""


def train_on_ray(job: Job, workers: int, progress: Progress) -> None:
    """Trains until the last step is saved. Ray must be connected.

    Raises UserError where the cluster is too small or a worker met a user's mistake, KeyboardInterrupt after Ctrl-C.
    """
    clips, scaling = job.store.num_clips("train"), _scaling(workers)
    if clips < workers:
        raise UserError(f"the corpus has {clips} clips to train on, fewer than the {workers} workers; ask for fewer workers")
    scratch = job.folder / ".ray"
    board = ray.remote(num_cpus=0)(Board).remote()
    trainer = TorchTrainer(
        lambda: _work(job, board),
        scaling_config=scaling,
        run_config=RunConfig(
            # a name that was used before would go on silently
            name=f"{job.stage_name}-{uuid4().hex[:8]}",
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
        datasets={"train": job.store.dataset("train", columns_of(job))},
        dataset_config=DataConfig(datasets_to_split=["train"]),
    )
    try:
        with shown(board, progress), _interruptible():
            trainer.fit()
        if sentence := ray.get(board.failure.remote()):
            raise UserError(sentence)
    finally:
        ray.kill(board)
        shutil.rmtree(scratch, ignore_errors=True)


def _work(job: Job, board: ActorHandle) -> None:
    """What each worker does, in every attempt."""
    if ray.get(board.failure.remote()):
        # a user's mistake is not mended by trying again
        return
    context = ray.train.get_context()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    group = Group(get_device())
    shard = ray.train.get_dataset_shard("train")
    # A new pass begins when every worker has asked for it. They ask in the same step, or they would wait for each other
    # for ever: the shares are equally long, and a feed takes the same number of clips from its stream for every batch.
    feed = feed_of(job, lambda: shard.iter_batches(batch_size=READ_CLIPS, batch_format="numpy"), group.rank)
    try:
        train_stage(job, group, feed, reference_batches(job) if group.rank == 0 else [], Relay(board, group.rank))
    except UserError as error:
        ray.get(board.fail.remote(str(error)))
        raise


def _scaling(workers: int) -> ScalingConfig:
    """One CPU a worker and, where the cluster has any, one GPU; raises UserError where that would wait for ever."""
    found = ray.cluster_resources()
    gpus, cpus = int(found.get("GPU", 0)), int(found.get("CPU", 0))
    if 0 < gpus < workers:
        raise UserError(f"{workers} workers were asked for but the cluster has {gpus} GPUs; ask for at most {gpus}")
    if cpus <= workers:
        raise UserError(
            f"{workers} workers were asked for but the cluster has {cpus} CPUs, one of which must read the corpus; "
            f"ask for at most {max(cpus - 1, 0)}, or for 0 to train in this process"
        )
    return ScalingConfig(num_workers=workers, use_gpu=gpus > 0, resources_per_worker={"CPU": 1} | ({"GPU": 1} if gpus else {}))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ray Train answers Ctrl-C by ending the program; here it ends the training, and its handler goes with it."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
