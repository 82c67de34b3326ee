"""The metrics over HTTP, on the event loop: a connection costs no thread, and silence ends it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from clickcut.errors import LimitError
from clickcut.server.peers import Peer
from clickcut.server.rooms import Room

_CONNECTIONS = 64
_SECONDS = 5.0
"""For one request and its reply."""
_HEADER_BYTES = 16_384


async def serve_metrics(
    registry: CollectorRegistry, host: str, port: int, tls: ssl.SSLContext | None = None
) -> asyncio.Server:
    """Answer every GET with the metrics of a registry, over TLS if there is a context.

    Raises:
        OSError: the address cannot be used.
    """
    room = Room(_CONNECTIONS, "metrics connections")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address, port, *_ = writer.get_extra_info("peername") or ("", 0)
        try:
            async with room.place(Peer(address, f"{address} {port}"), _SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(_reply(registry, request))
                await writer.drain()
        except (TimeoutError, LimitError, OSError, asyncio.CancelledError):
            # It sends or reads nothing, or the server stops: asyncio would log the cancellation.
            writer.transport.abort()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.write(_response("400 Bad Request", "text/plain", b"not a request of HTTP\n"))
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    handshake = None if tls is None else _SECONDS
    return await asyncio.start_server(
        answer, host, port, limit=_HEADER_BYTES, ssl=tls, ssl_handshake_timeout=handshake
    )


def _reply(registry: CollectorRegistry, request: bytes) -> bytes:
    first, *headers = request.decode("latin-1").split("\r\n")
    if not first.startswith("GET "):
        return _response("405 Method Not Allowed", "text/plain", b"only GET is answered\n")
    accept = next((h[7:] for h in headers if h.lower().startswith("accept:")), "")
    encode, kind = choose_encoder(accept)
    return _response("200 OK", kind, encode(registry))


def _response(status: str, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
