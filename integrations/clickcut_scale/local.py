"""Several replicas on this machine, to try the application out."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil  # type: ignore[import-untyped]
import ray
from ray import serve
from ray.serve.schema import ApplicationStatus, ServeDeploySchema

from clickcut.errors import ClickcutError
from clickcut.processor import available_cpus
from clickcut.server.access_settings import ENV_PREFIX
from clickcut.server.memory import memory_limit
from clickcut.server.settings import MIB
from clickcut_scale.application import DEPLOYMENT, NAME, Arguments, configuration, grpc_options
from clickcut_scale.ray_internals import deploy_configuration

_POLL_SECONDS = 0.25
_STARTS = 2
_END_SECONDS = 5.0
"""Time in which processes of Ray end by themselves before they are killed."""
_OBJECT_STORE = 128 * MIB
"""Bytes for images on their way through Ray; messages below 100 kB do not use it."""
_RAY_MIB = 1536
"""Memory that Ray itself takes on one machine: node, controller, proxy."""
_MIN_REPLICA_MIB = 512
"""Least memory of a replica."""
_FAILED = (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY)
_MESSAGE = 600
"""Maximum length of a reason that Ray gives, characters."""


class DeployError(ClickcutError):
    """The application does not start; what ran before goes on."""


def shares(replicas: int) -> dict[str, Any]:
    """Return the settings by which replicas on one machine share its processors and memory.

    Those that the environment has are left out.

    Raises:
        DeployError: the machine has not enough memory.
    """
    total = memory_limit() // MIB
    if replicas * _MIN_REPLICA_MIB > total:
        raise DeployError(
            f"{replicas} replicas need at least {_MIN_REPLICA_MIB} MiB each, and this machine has "
            f"{total} MiB: give a smaller --replicas"
        )
    cpus = max(1, available_cpus() // replicas)
    memory = max(_MIN_REPLICA_MIB, (total - _RAY_MIB) // replicas)
    own = {"threads": cpus, "workers": cpus, "memory_mib": memory}
    return {k: v for k, v in own.items() if f"{ENV_PREFIX}{k.upper()}" not in os.environ}


@contextmanager
def cluster(cpus: int, port: int) -> Iterator[int]:
    """Run Ray and its Serve proxy on this machine; everything is ended when the context is left.

    Args:
        cpus: that replicas may reserve; Ray counts them and limits nothing.
        port: of the gRPC proxy, on every interface; 0 for a free one.

    Yields:
        The port.

    Raises:
        DeployError: the port is in use, or Ray does not start.
    """
    port = _checked_port(port)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
    # Ray gives workers a niceness of 15, so that its own processes keep up; replicas are no batch.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        _start_ray(cpus)
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        try:
            serve.start(
                proxy_location="HeadOnly",
                http_options={"host": "127.0.0.1", "port": _checked_port(0)},
                grpc_options=grpc_options(port),
            )
            yield port
        finally:
            serve.shutdown()  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError, ray.exceptions.RayError) as error:
        raise DeployError(f"Ray Serve failed on this machine: {_short(str(error))}") from error
    finally:
        started = psutil.Process().children(recursive=True)
        ray.shutdown()
        _end(started)


def _end(processes: list[psutil.Process]) -> None:
    """Wait for processes to end; kill those that do not, as some of Ray's agents."""
    _, left = psutil.wait_procs(processes, timeout=_END_SECONDS)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=_END_SECONDS)


def _start_ray(cpus: int) -> None:
    """Start Ray; once more if that fails, as it does when a busy machine starts it too slowly.

    Raises:
        DeployError: it does not start.
    """
    for left in reversed(range(_STARTS)):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception as error:  # Ray raises nothing more specific when its node does not start
            ray.shutdown()
            if not left:
                raise DeployError(
                    f"Ray does not start on this machine: {_short(str(error))} Its logs are in "
                    "/tmp/ray/session_latest/logs"
                ) from error


def deploy(
    args: Arguments, models: Mapping[str, Any], say: Callable[[str], None] = lambda _: None
) -> None:
    """Start the application, or change it, and wait until it runs as described.

    Args:
        args: of the application.
        models: which models, see `Replica.reconfigure`.
        say: called with a message when the number of running replicas changes.

    Raises:
        DeployError: a replica does not start. After a change the replicas of before go on.
    """
    wanted = ServeDeploySchema.model_validate(configuration(args, models))
    deploy_configuration(wanted)
    said = ""
    while True:
        status = serve.status().applications.get(NAME)
        running = _running(status) if status is not None else ""
        if running != said:
            said = running
            say(f"replicas  {running}")
        if status is not None and status.status == ApplicationStatus.RUNNING:
            return
        if status is not None and status.status in _FAILED:
            raise DeployError(f"a replica does not start: {_reason(status)}")
        time.sleep(_POLL_SECONDS)


def _running(status: Any) -> str:
    engine = status.deployments.get(DEPLOYMENT)
    states = dict(engine.replica_states) if engine is not None else {}
    return ", ".join(f"{count} {state.lower()}" for state, count in sorted(states.items()))


def _reason(status: Any) -> str:
    """Return the last line of the error of a replica, or else what Ray says."""
    engine = status.deployments.get(DEPLOYMENT)
    text = (engine.message if engine is not None else "") or status.message
    if "ActorDiedError" in text:
        return (
            "its process died while it started, each time: was it killed, for its memory perhaps? "
            "Ray's logs have more (/tmp/ray/session_latest/logs/serve)"
        )
    lines = [line.strip() for line in text.splitlines()]
    named = [line for line in lines if line.startswith("clickcut.") or "Error: " in line]
    return _short(named[-1] if named else " ".join(lines))


def _short(text: str) -> str:
    return text if len(text) <= _MESSAGE else f"{text[:_MESSAGE]}..."


def _checked_port(port: int) -> int:
    """Return the port if it is free, for 0 a free one.

    Raises:
        DeployError: it is in use.
    """
    try:
        with socket.create_server(("", port)) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        raise DeployError(
            f"cannot listen on port {port} ({error.strerror}); give another --port"
        ) from error
