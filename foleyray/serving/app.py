"""The application: what is deployed from an ensemble, and a server that runs for the length of a block."""

import logging
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from foleyray import cluster
from foleyray.config import Config, UserError
from foleyray.generation import MAX_BATCH, Roster, contents_of, open_ensemble
from foleyray.progress import Progress, Quiet

if TYPE_CHECKING:  # ray is imported only once the environment is prepared for it
    from ray.serve import Application

NAME = "foleyray"
QUIET = {"log_level": "ERROR", "enable_access_log": False}
INGRESS_ONGOING = 512
"""Requests that the ingress may hold; it only waits for the generators, so this bounds memory, not work."""
LIFE: dict[str, Any] = {"max_constructor_retry_count": 1, "graceful_shutdown_wait_loop_s": 0.2}
"""A replica that cannot be built is not tried again and again; one that is to stop looks often whether it still works."""


class Settings(Config):
    """What a server is told: the `args` of serve/config.yaml, and key=value pairs of `serve run`."""

    ensemble: Path = Field(description="an ensemble (its file or folder), or a bare checkpoint")
    max_batch: int = Field(MAX_BATCH, ge=1, le=1024, description="sounds made at once")
    max_ongoing: int = Field(0, ge=0, description="sounds a generator may hold, waiting ones included; 0: four batches")
    max_count: int = Field(16, ge=1, le=1024, description="largest `count` of one request")
    batch_wait_seconds: float = Field(0.002, ge=0, le=10, description="how long the first sound of a batch waits for more")
    threads: int = Field(0, ge=0, description="threads of each generator; 0: its share of the cores but one")
    gpus: float = Field(0, ge=0, description="share of a GPU for each generator; 0: sound on the CPU")

    @model_validator(mode="after")
    def _batches_fill(self) -> Self:
        if 0 < self.max_ongoing < self.max_batch:
            raise ValueError(f"max_ongoing {self.max_ongoing} is below max_batch {self.max_batch}: batches could never fill")
        return self


def build(args: Mapping[str, Any]) -> "Application":
    """One generator for each system of the ensemble, behind the ingress; raises UserError for settings or parts amiss."""
    settings, roster, folder = _checked(args)
    from ray import serve

    from foleyray.serving.generator import Generator
    from foleyray.serving.ingress import Ingress

    generators = {
        system: serve.deployment(
            Generator,
            name=system,
            max_ongoing_requests=settings.max_ongoing or 4 * settings.max_batch,
            ray_actor_options={"num_cpus": 1, "num_gpus": settings.gpus},
            **LIFE,
        ).bind(
            ensemble=roster.ensemble,
            folder=folder,
            system=system,
            device="cuda" if settings.gpus else "cpu",
            max_batch=settings.max_batch,
            wait_seconds=settings.batch_wait_seconds,
            threads=settings.threads,
            neighbours=len(roster.systems),
        )
        for system in roster.systems
    }
    ingress = serve.deployment(
        Ingress,
        name="ingress",
        max_ongoing_requests=INGRESS_ONGOING,
        ray_actor_options={"num_cpus": 0.1},
        **LIFE,
    )
    return ingress.bind(roster.ensemble, settings.max_count, generators)


def _checked(args: Mapping[str, Any]) -> tuple[Settings, Roster, Path]:
    """Everything that can be found wrong without weights is found here, before Ray takes its seconds to start."""
    settings = Settings.parse(args, "arguments of the server")
    ensemble, folder = open_ensemble(settings.ensemble)
    roster, folder = Roster(ensemble), folder.resolve()
    contents_of(roster, folder)
    return settings, roster, folder


@contextmanager
def served(
    ensemble: Path | str,
    port: int = 8000,
    *,
    host: str = "127.0.0.1",
    progress: Progress | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """A server for the length of a block, at the URL it yields; `port` 0 takes a free one.

    Serve is started here and ended here, and so is Ray unless it runs already. Raises UserError where the port is taken,
    where the ensemble is not whole or does not load, or where Serve already runs.
    """
    args = {"ensemble": ensemble, **(settings or {})}
    _checked(args)
    port = _free(host, port)
    progress = progress or Quiet()
    progress.say(f"starting the server for {ensemble}")
    with cluster.connected():
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # its import sets another level
        if serve.status().proxies or serve.status().applications:
            raise UserError("Ray Serve already runs on this cluster; deploy with `serve deploy serve/config.yaml`, or stop it")
        try:
            serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port}, logging_config=QUIET)
            _run(build(args))
            yield _url(host, port)
        finally:
            serve.shutdown()


def _run(application: "Application") -> None:
    from ray import serve

    try:
        serve.run(application, name=NAME, route_prefix="/", logging_config=QUIET)
    except RuntimeError as error:
        said = "\n".join(deployment.message for deployment in serve.status().applications[NAME].deployments.values())
        if sentence := re.search(r"UserError: (.+)", said):  # a replica's failure comes as the text of its traceback
            raise UserError(sentence[1]) from None
        raise RuntimeError(f"{error}\n{said}") from None


def _url(host: str, port: int) -> str:
    names = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
    return f"http://{names.get(host) or (f'[{host}]' if ':' in host else host)}:{port}"


def _free(host: str, port: int) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"cannot listen on {host}:{port} ({error.strerror}); give another --port, or 0 for any free"
            ) from None
        return int(probe.getsockname()[1])
