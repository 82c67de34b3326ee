"""Settings of the page's server."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from pathlib import Path

from clickcut.client.access import Access
from clickcut.client.channel import Endpoint

MIB = 2**20

MAX_FRAME_BYTES = 4 * MIB
"""Largest WebSocket frame; images do not travel in frames."""


@dataclass(frozen=True, slots=True)
class PageSettings:
    """Settings of the page's server.

    Attributes:
        server: HOST:PORT of the engine.
        access: to the engine: TLS and its token.
        host: address to listen on.
        token: what a browser must know; "" for no token.
        allowed_hosts: further names, HOST or HOST:PORT, by which the page may be reached.
        max_image_bytes: largest image file.
        max_connections: open WebSockets.
        picture: what the page opens first; None for nothing.
    """

    server: str
    host: str = "127.0.0.1"
    token: str = ""
    allowed_hosts: tuple[str, ...] = ()
    max_image_bytes: int = 128 * MIB
    max_connections: int = 200
    picture: Path | None = None
    access: Access = field(default_factory=Access)

    @property
    def engine(self) -> Endpoint:
        """The engine.

        Raises:
            EventError: not an address, or its token would be sent in plain text.
        """
        return self.access.endpoint(self.server)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the page."""
        return is_loopback(self.host)

    def accepts_host(self, header: str) -> bool:
        """Whether the page may be reached by what a request's `Host` says.

        A foreign name that leads to this machine is refused (DNS rebinding); addresses cannot be
        rebound, so any of them will do.
        """
        name = _without_port(header).lower()
        if header.lower() in self.allowed_hosts or name in self.allowed_hosts:
            return True
        if name == "localhost" or name == self.host.lower():
            return True
        return _is_address(name) or (not self.is_local and name == socket.gethostname().lower())


def is_loopback(host: str) -> bool:
    """Whether a host is this machine and nothing else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _without_port(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
