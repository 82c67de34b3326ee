"""Start and stop the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clickcut import tracing
from clickcut.errors import ClickcutError
from clickcut.processor import available_cores, available_cpus
from clickcut.server import logs
from clickcut.server.admin import Reloader
from clickcut.server.background import in_background
from clickcut.server.certificates import Certificates
from clickcut.server.connections import allow_connections
from clickcut.server.core import Core
from clickcut.server.edge import Edge
from clickcut.server.memory import Budgets, tune_allocator
from clickcut.server.model_registry import GPU_BATCH, Models
from clickcut.server.service import NAME, ClickcutService
from clickcut.server.settings import MIB, Settings
from clickcut.server.side_services import (
    StartError,
    serve_metrics,
    start_admin,
    start_health,
)
from clickcut.server.tokens import Tokens
from clickcut.v1 import clickcut_pb2_grpc
from clickcut.warm_up import warm_up_all

_log = logging.getLogger(__name__)
_say = logs.progress

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit code: 0, or 2 when the server cannot start; stderr then says why.
    """
    logs.configure(settings.log_level, settings.log_format)
    # SIGHUP means "reload", while all is being loaded; its default action ends the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    tune_allocator()
    allow_connections()
    try:
        tokens, certificates = Tokens.of(settings), Certificates.of(settings)
        models = Models(settings)
        workers = worker_threads(settings, models)
        server = Server(settings, models, workers, tokens, certificates)
        return asyncio.run(server.run())
    except ClickcutError as error:
        logs.failed(error)
        return 2


def worker_threads(settings: Settings, models: Models) -> int:
    """Return the number of threads of the compute pool.

    As many as a batch may hold, where batches pay.
    """
    if settings.workers:
        return settings.workers
    most = settings.max_batch or (GPU_BATCH if models.on_gpu else 1)
    return max(available_cpus(), most)


class Server:
    """A server, from start to stop.

    Args:
        settings: see there.
        models: loaded, not yet warm.
        workers: threads of the compute pool.
        tokens: that clients may use.
        certificates: for TLS; None for plain text.
    """

    def __init__(
        self,
        settings: Settings,
        models: Models,
        workers: int,
        tokens: Tokens,
        certificates: Certificates | None,
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._certificates = certificates
        self._models = models
        self._workers = workers
        self._health = health.aio.HealthServicer()
        self._cut_off = False

    async def run(self) -> int:
        """Start, warm up, serve until stopped, drain.

        Raises:
            StartError: the address or the certificate cannot be used.
            ClickcutError: a model failed its first prediction, or its solver is not installed.
        """
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal)
        core = Core(self._settings, self._models, self._workers, self._tokens)
        service = ClickcutService(core)
        reloader = Reloader(core)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload_signal, core, reloader)
        server = self._make(core, service)
        async with contextlib.AsyncExitStack() as at_end:
            if self._settings.traces != "off":
                at_end.callback(tracing.export(self._settings.traces))
            at_end.push_async_callback(self._end, core, server)
            await self._start(server, core)
            tls = self._certificates
            at_end.push_async_callback(await serve_metrics(core, tls, _say))
            at_end.push_async_callback(await start_health(core, self._health, _say))
            at_end.push_async_callback(await start_admin(core, reloader, tls, _say))
            watching = [tls.watch()] if tls else []
            for work in (core.sweep(), core.watch_memory(), *watching):
                at_end.callback(asyncio.create_task(work).cancel)
            _say("warming up")
            if await self._unless_stopped(self._warm_up):
                core.ready = True
                await self._set_health(_SERVING)
                _say("serving")
                await self._stop.wait()
            await self._drain(core, service)
        _say("stopped")
        if self._cut_off:
            _exit_now()
        return 0

    # ---- start

    def _make(self, core: Core, service: ClickcutService) -> grpc.aio.Server:
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", core.budgets.message),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # a second server on the same port is an error
                # Detect dead clients, and let clients detect a dead server.
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.http2.ping_timeout_ms", 10_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                # End connections without an HTTP/2 handshake, and idle ones.
                ("grpc.server_handshake_timeout_ms", 10_000),
                ("grpc.max_connection_idle_ms", 300_000),
            ],
            # The edge limits the number of calls: health checks must always be answered.
            interceptors=[Edge(core)],
        )
        clickcut_pb2_grpc.add_ClickcutServicer_to_server(service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(
            (NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        return server

    async def _start(self, server: grpc.aio.Server, core: Core) -> None:
        await self._set_health(_NOT_SERVING)
        port = self._bind(server)
        await server.start()
        self._describe(port, core.budgets)
        for line in await core.durability.describe():
            _say(line)

    def _bind(self, server: grpc.aio.Server) -> int:
        settings = self._settings
        address = settings.address
        try:
            if self._certificates is None:
                return server.add_insecure_port(address)
            credentials = self._certificates.credentials(settings.tls_client_ca)
            return server.add_secure_port(address, credentials)
        except (RuntimeError, ValueError, OSError) as error:
            raise StartError(
                f"cannot listen on {address}: is another server running there, or is the address "
                f"wrong? ({error})"
            ) from error

    def _describe(self, port: int, budgets: Budgets) -> None:
        s = self._settings
        tls = "no TLS" if s.tls_cert is None else "mTLS" if s.tls_client_ca else "TLS"
        _say(f"address   {s.host}:{port} ({tls})")
        if self._tokens.required:
            _say(f"tokens    {len(self._tokens)}")
        for arm in self._models:
            m = arm.predictor.metadata
            share = f", {arm.share:.0%} of {m.name}" if arm.share < 1 else ""
            how = f"{m.architecture}, {arm.predictor.backend}{share}"
            _say(f"model     {m.name} {m.version} ({how})")
        threads = f"{s.threads or available_cores()} threads per prediction"
        if not s.threads and available_cores() > 1:
            threads += " (1 in a crowd)"
        _say(f"processor {available_cpus()} of {os.cpu_count()} CPUs")
        _say(f"compute   {self._workers} workers, {threads}, queue of {s.queue} requests")
        _say(f"cut       {s.cut_solver}")
        _say(f"sessions  max. {s.max_sessions}, {budgets.sessions // MIB} MiB")
        _say(
            f"images    {s.max_image_mib} MiB and {budgets.pixels / 1e6:.3g} megapixels each, "
            f"{budgets.images // MIB} MiB held"
        )
        _say(f"memory    {budgets.total // MIB} MiB at most")

    def _warm_up(self) -> None:
        predictors = [arm.predictor for arm in self._models]
        warm_up_all(predictors, self._settings.cut_solver, _say)

    async def _unless_stopped(self, work: Callable[[], None]) -> bool:
        """Run `work` in the background; return False if stopped before its end."""
        done = in_background(work, "warm-up")
        stopped: asyncio.Future[bool] = asyncio.create_task(self._stop.wait())
        waits: set[asyncio.Future[Any]] = {done, stopped}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not done.done():
            done.cancel()
            return False
        done.result()
        return True

    # ---- while it runs

    def _on_reload_signal(self, core: Core, reloader: Reloader) -> None:
        core.tokens.reload()
        if self._certificates is not None:
            self._certificates.reload()
        core.start(reloader.reload_quietly())

    # ---- stop

    def _on_stop_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()  # second signal: do not wait
        self._stop.set()

    async def _drain(self, core: Core, service: ClickcutService) -> None:
        """Refuse new sessions; let open ones continue for a while, then end their streams."""
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

    async def _end(self, core: Core, server: grpc.aio.Server) -> None:
        """End all calls, after --stop-seconds by force."""
        await server.stop(0 if self._hurry.is_set() else self._settings.stop_seconds)
        await core.durability.close()
        core.end_records()
        core.pool.close()
        core.decoder.close()
        running = core.pool.running
        self._cut_off = bool(running)
        for peer, seconds in running:
            _log.warning("cut off a request of %s that ran for %.1f s", peer.connection, seconds)

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", NAME):
            await self._health.set(name, status)


def _exit_now() -> None:
    """Exit without waiting for threads, whose results are no longer needed."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
