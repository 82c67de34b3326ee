"""Start and stop of the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clickcut.errors import ClickcutError
from clickcut.server.core import Core
from clickcut.server.models import Models
from clickcut.server.service import NAME, ClickcutService
from clickcut.server.settings import MIB, Settings
from clickcut.v1 import clickcut_pb2_grpc
from clickcut.warm_up import warm_up

STOP_SECONDS = 20.0
"""How long a request that is computing at the end may take, before it is cut off."""

_OTHER_STREAMS = 256
"""RPCs at once that are not sessions: uploads, health checks."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit code: 0, or 2 when the server cannot start; stderr then says why.
    """
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    workers = settings.workers or os.cpu_count() or 1
    try:
        models = Models.load(settings.model, settings.threads)
        return asyncio.run(Server(settings, models, workers).run())
    except ClickcutError as error:
        print(f"clickcut: {error}", file=sys.stderr)
        return 2


class StartError(ClickcutError):
    """The server cannot start: an address in use, a bad certificate."""


class Server:
    """A server from start to stop.

    Args:
        settings: see there.
        models: loaded, not yet warm.
        workers: threads of the compute pool.
    """

    def __init__(self, settings: Settings, models: Models, workers: int) -> None:
        self._settings = settings
        self._models = models
        self._workers = workers
        self._health = health.aio.HealthServicer()

    async def run(self) -> int:
        """Start, warm up, serve until told to stop, drain.

        Raises:
            StartError: the address or the certificate cannot be used.
            ClickcutError: a model failed its first prediction, or its solver is not installed.
        """
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._told_to_stop)
        core = Core(self._settings, self._models, self._workers)
        service = ClickcutService(core)
        server = await self._start(core, service)
        sweeper = asyncio.create_task(core.sweep())
        try:
            if await self._unless_stopped(self._warm_up):
                core.ready = True
                await self._set_health(_SERVING)
                _say("serving")
                await self._stop.wait()
            await self._drain(core, service)
        finally:
            sweeper.cancel()
            await server.stop(0 if self._hurry.is_set() else STOP_SECONDS)
            core.pool.close()
        _say("stopped")
        return 0

    # ---- start

    async def _start(self, core: Core, service: ClickcutService) -> grpc.aio.Server:
        settings = self._settings
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_message_mib * MIB),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # a second server on the same port is an error
                # Notice clients that vanished without a word, and let clients notice us.
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
            maximum_concurrent_rpcs=settings.max_sessions + _OTHER_STREAMS,
        )
        clickcut_pb2_grpc.add_ClickcutServicer_to_server(service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(
            (NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        await self._set_health(_NOT_SERVING)
        port = self._bind(server)
        await server.start()
        self._describe(port)
        if settings.metrics_port is not None:
            self._serve_metrics(core, settings.metrics_port)
        _say("warming up")
        return server

    def _serve_metrics(self, core: Core, port: int) -> None:
        try:
            port = core.metrics.serve(self._settings.host.strip("[]"), port)
        except OSError as error:
            raise StartError(f"cannot offer metrics on port {port}: {error}") from error
        _say(f"metrics   http://{self._settings.host}:{port}/metrics")

    def _bind(self, server: grpc.aio.Server) -> int:
        settings = self._settings
        address = settings.address
        try:
            if settings.tls_cert is None or settings.tls_key is None:
                return server.add_insecure_port(address)
            pair = settings.tls_key.read_bytes(), settings.tls_cert.read_bytes()
            return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        except (RuntimeError, ValueError, OSError) as error:
            raise StartError(
                f"cannot listen on {address}: is another server running there, or is the address "
                f"(or the certificate) wrong? ({error})"
            ) from error

    def _describe(self, port: int) -> None:
        s = self._settings
        tls = "TLS" if s.tls_cert else "no TLS"
        _say(f"address   {s.host}:{port} ({tls})")
        for predictor in self._models:
            m = predictor.metadata
            _say(f"model     {m.name} {m.version} ({m.architecture}, {predictor.backend})")
        threads = f"{s.threads or os.cpu_count()} threads per prediction"
        _say(f"compute   {self._workers} workers, {threads}, at most {s.queue} requests wait")
        _say(f"cut       {s.cut_solver}")
        _say(f"sessions  {s.max_sessions} at most, {s.session_memory_mib} MiB")
        _say(
            f"images    {s.max_image_mib} MiB and {s.max_image_megapixels:g} megapixels each, "
            f"{s.image_memory_mib} MiB held"
        )

    def _warm_up(self) -> None:
        for predictor in self._models:
            warm_up(predictor, self._settings.cut_solver)

    async def _unless_stopped(self, work: Callable[[], None]) -> bool:
        """Run `work` in a thread that does not keep the process; False when told to stop first."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def tell(error: Exception | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def target() -> None:
            error: Exception | None = None
            try:
                work()
            except Exception as raised:  # handed to the event loop
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has closed: told to stop
                loop.call_soon_threadsafe(tell, error)

        threading.Thread(target=target, name="warm-up", daemon=True).start()
        stopped: asyncio.Future[bool] = asyncio.create_task(self._stop.wait())
        waits: set[asyncio.Future[Any]] = {done, stopped}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not done.done():
            done.cancel()
            return False
        done.result()
        return True

    # ---- stop

    def _told_to_stop(self) -> None:
        if self._stop.is_set():
            self._hurry.set()  # told twice
        self._stop.set()

    async def _drain(self, core: Core, service: ClickcutService) -> None:
        """Refuse new sessions; give open ones some time, then end their streams."""
        core.draining = True
        await self._health.enter_graceful_shutdown()
        _say(f"draining  {service.streams} streams, at most {self._settings.drain_seconds:g} s")
        deadline = asyncio.get_running_loop().time() + self._settings.drain_seconds
        while service.streams and asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), 0.05)
            if self._hurry.is_set():
                break
        service.end_streams()

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", NAME):
            await self._health.set(name, status)


def _say(text: str) -> None:
    print(text, flush=True)
