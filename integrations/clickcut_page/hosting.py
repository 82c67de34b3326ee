"""A listening socket, an engine where none is named, and an orderly end, for commands that serve.

The page and the backends of annotation tools share this.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from clickcut.errors import ClickcutError
from clickcut_page.own_engine import OwnEngine

Run = Callable[[socket.socket, str], Coroutine[Any, Any, None]]
"""Serves at a listening socket with the engine at HOST:PORT, until it is cancelled."""


def host(command: str, address: tuple[str, int], server: str, run: Run) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        command: its name, for messages.
        address: host and port to listen on; port 0 for a free one.
        server: HOST:PORT of the engine; "" to start one, and to stop it at the end.
        run: what serves.

    Returns:
        The exit code: 0, or 2 when it cannot start; stderr then says why.
    """
    try:
        listener = socket.create_server(address)
    except OSError as error:
        print(
            f"{command}: cannot listen on {address[0]}:{address[1]} ({error.strerror}); "
            "name another --port",
            file=sys.stderr,
        )
        return 2
    own = None
    # uvicorn raises what ended it once more; as an exception it lets the engine be stopped too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not server:
            own = OwnEngine()
            server = own.address
        asyncio.run(run(listener, server))
    except KeyboardInterrupt:
        return 0
    except ClickcutError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 2
    finally:
        listener.close()
        if own is not None:
            own.stop()
    return 0
