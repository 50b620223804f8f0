"""One Ray for the whole session, and one thread per process: the machine may have two cores."""

import os
from collections.abc import Iterator

import pytest
import torch

from foleyray import cluster

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.25")
cluster.prepare()
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    with cluster.connected():
        yield
