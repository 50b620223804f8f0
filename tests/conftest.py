"""One Ray for the whole session, and one thread per process: the machine may have two cores."""

import os  # what follows is read by libraries when they are first imported

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.25")

import signal
from collections.abc import Iterator

import pytest
import torch

from foleyray import cluster

cluster.prepare()
# A shell's background job ignores Ctrl-C, and so would the tests that press it.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    with cluster.connected():
        yield
