"""Ray itself: joins the cluster that RAY_ADDRESS names, or starts a private one on this machine."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

_ENVIRONMENT = {
    # Ray's own note on every end of Serve, about a controller that is gone because it was asked to go.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "ServeController.graceful_shutdown failed",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
MIN_LOGICAL_CPUS = 8
"""Scheduling slots on a small machine: actors that mostly wait may share its cores (threads are capped where work is done)."""


@contextmanager
def connected() -> Iterator[None]:
    """Ray for the length of a block. What was connected before stays connected; what was started here ends here."""
    prepare()
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "local")
    options = {} if address != "local" else {"num_cpus": max(MIN_LOGICAL_CPUS, os.cpu_count() or 1), "include_dashboard": False}
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    for name in ("ray.data", "ray.train", "ray.tune", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def prepare() -> None:
    """Sets the environment that every Ray process inherits; must run before ray is first imported.

    A private cluster gets a token of its own, so that nothing is written into the user's home and no other account on
    the machine can talk to it.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "RAY_ADDRESS" not in os.environ and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
