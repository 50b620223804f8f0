"""Where batches come from: the training split without end, and a few fixed ones to validate on."""

from itertools import islice

from foleyray.corpus.feed import Feed, Passes, batches
from foleyray.stage import Batch
from foleyray.train.job import Job
from foleyray.train.loop import seed_of

VALIDATION_CLIPS = 256
"""Clips of the `reference` split that are listened to at each checkpoint; rows of a store are in random order."""
READ_CLIPS = 64
"""Clips that are read at once."""


def feed_of_store(job: Job) -> Feed:
    """Batches of the whole training split, read by this process."""
    return feed_of(job, lambda: job.store.stream("train", columns_of(job), num_rows=READ_CLIPS), rank=0)


def feed_of(job: Job, passes: Passes, rank: int) -> Feed:
    """Batches of one worker's share, in an order of its own."""
    training = job.training
    return Feed(
        passes,
        job.stage.reads,
        training.batch_size,
        balanced=training.balanced,
        seed=seed_of(training.seed, rank),
    )


def columns_of(job: Job) -> list[str]:
    """The columns that a feed must be given."""
    return list(dict.fromkeys([*job.stage.reads, *(["label"] if job.training.balanced else [])]))


def reference_batches(job: Job) -> list[Batch]:
    """The first clips of the `reference` split, in batches of the training's size; none where the split is empty."""
    size = min(job.training.batch_size, VALIDATION_CLIPS)
    stream = job.store.stream("reference", job.stage.reads, num_rows=size)
    return list(islice(batches(stream, job.stage.reads), VALIDATION_CLIPS // size))
