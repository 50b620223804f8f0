"""Training of one stage in this process, without Ray."""

from foleyray.progress import Progress
from foleyray.train.feeding import feed_of_store, reference_batches
from foleyray.train.job import Job
from foleyray.train.session import train_stage
from foleyray.train.workers import Alone, best_device


def train_alone(job: Job, progress: Progress) -> None:
    """Trains until the last step is saved; raises what `train_stage` raises."""
    train_stage(job, Alone(best_device()), feed_of_store(job), reference_batches(job), progress)
