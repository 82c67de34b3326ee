"""Start and stop of the page's server."""

from __future__ import annotations

import asyncio
import socket
import webbrowser
from dataclasses import replace
from urllib.parse import quote

import uvicorn

from clickcut_page.app import build
from clickcut_page.engine import Engine
from clickcut_page.hosting import host
from clickcut_page.repair import RepairList
from clickcut_page.settings import MAX_FRAME_BYTES, PageSettings

_POLL_SECONDS = 0.25


def serve(
    settings: PageSettings, port: int, open_browser: bool, repair: RepairList | None = None
) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: `server` empty: an engine of its own is started.
        port: 0 for a free one.
        open_browser: open the page in a browser once it is ready.
        repair: objects to be repaired.

    Returns:
        The exit code: 0, or 2 when it cannot start; stderr then says why.
    """

    async def run(listener: socket.socket, server: str) -> None:
        placed = replace(settings, server=server)
        await _run(placed, listener, open_browser, not settings.server, repair)

    return host("clickcut page", (settings.host, port), settings.server, run)


async def _run(
    settings: PageSettings,
    listener: socket.socket,
    open_browser: bool,
    owns_engine: bool,
    repair: RepairList | None,
) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            build(settings, repair),
            ws="websockets-sansio",
            ws_max_size=MAX_FRAME_BYTES,
            ws_per_message_deflate=False,  # replies are small, and time counts
            log_level="warning",
            lifespan="on",
            timeout_graceful_shutdown=2,
        )
    )
    announcing = asyncio.create_task(_announce(settings, listener, open_browser, owns_engine))
    announcing.add_done_callback(lambda task: _stop_on_failure(task, server))
    try:
        await server.serve(sockets=[listener])
    finally:
        if not announcing.cancel():
            announcing.result()


def _stop_on_failure(announcing: asyncio.Task[None], server: uvicorn.Server) -> None:
    """Stop the page when the engine does not let it in: waiting would not help."""
    if not announcing.cancelled() and announcing.exception() is not None:
        server.should_exit = True


async def _announce(
    settings: PageSettings, listener: socket.socket, open_browser: bool, owns_engine: bool
) -> None:
    """Print where the page is; "ready" once the engine serves.

    Raises:
        AuthenticationError: the engine does not accept the token, or asks for one.
    """
    url = page_url(settings, listener.getsockname()[1])
    print(f"page      {url}", flush=True)
    engine = Engine(settings.engine)
    try:
        if not await engine.is_serving():
            waiting = "it starts" if owns_engine else "not there yet; the page waits for it"
            print(f"engine    {settings.server}: {waiting}", flush=True)
        while not await engine.is_serving():
            await asyncio.sleep(_POLL_SECONDS)
        print("ready     open the page; Ctrl-C stops it", flush=True)
        if open_browser:
            await asyncio.to_thread(webbrowser.open, url)
    finally:
        await engine.close()


def page_url(settings: PageSettings, port: int) -> str:
    """The address to open, with the token where there is one."""
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(
        settings.host, settings.host
    )
    host = f"[{host}]" if ":" in host else host
    query = f"?token={quote(settings.token)}" if settings.token else ""
    return f"http://{host}:{port}/{query}"
