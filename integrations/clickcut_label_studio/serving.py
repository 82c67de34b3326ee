"""Start and stop of the backend."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from dataclasses import replace

import uvicorn

from clickcut_label_studio.app import build
from clickcut_label_studio.backend import Backend
from clickcut_label_studio.reason import ReasonProtocol
from clickcut_label_studio.settings import BackendSettings
from clickcut_page.hosting import host as serve_at
from clickcut_page.settings import is_loopback

MAX_CONNECTIONS = 64


def serve(settings: BackendSettings, host: str, port: int) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: `server` empty: an engine of its own is started.
        host: to listen on.
        port: 0 for a free one.

    Returns:
        The exit code: 0, or 2 when it cannot start; stderr then says why.
    """

    async def run(listener: socket.socket, server: str) -> None:
        place = f"{host}:{listener.getsockname()[1]}"
        print(f"backend   http://{place}", flush=True)
        print(f"engine    {server}", flush=True)
        if not settings.user and not is_loopback(host):
            print(
                "warning   anyone who can reach this port can have images of Label Studio "
                "segmented; set --user and --password",
                file=sys.stderr,
            )
        await _run(replace(settings, server=server), listener)

    return serve_at("clickcut label-studio", (host, port), settings.server, run)


async def _run(settings: BackendSettings, listener: socket.socket) -> None:
    backend = Backend(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            build(backend, settings),
            http=ReasonProtocol,
            ws="none",
            log_level="warning",
            limit_concurrency=MAX_CONNECTIONS,
            lifespan="on",
            timeout_graceful_shutdown=2,
        )
    )
    watching = asyncio.create_task(backend.watch())
    announcing = asyncio.create_task(_announce(backend))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.wait({watching, serving}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            server.should_exit = True
            await serving
            watching.result()  # raises what Label Studio refuses
        else:
            serving.result()
    finally:
        for task in (watching, announcing):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await announcing


async def _announce(backend: Backend) -> None:
    await backend.ready.wait()
    print(
        "ready     connect it in a project's Settings > Model, or by init-project; Ctrl-C stops it",
        flush=True,
    )
