"""The channel to a server: its options, and its replacement."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import grpc

from clickcut.errors import EventError, UsageError
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

C = TypeVar("C")

SERVICE: str = pb.DESCRIPTOR.services_by_name["Clickcut"].full_name
SESSION_METHOD = f"{SERVICE}/Session"

Metadata = tuple[tuple[str, str], ...]
"""What is sent with a call beside its messages."""

TOKEN_VARIABLE = "CLICKCUT_TOKEN"
"""Environment variable with the token of clients that are given none."""

PLAINTEXT_VARIABLE = "CLICKCUT_PLAINTEXT_TOKEN"
"""Environment variable that allows to send it without TLS to another machine: 1 or true."""

_TOKEN = re.compile(r"[!-~]{1,512}")

MAX_REPLY_BYTES = 256 * 2**20
"""Maximum size of a reply; a mask of 100 megapixels with an edge at every other pixel fits."""

KEEPALIVE_SECONDS = 40.0
"""A connection that is silent this long while a reply is awaited counts as dead."""

HANDSHAKE_SECONDS = 10.0
"""Maximum duration of one attempt to connect, TLS included."""

_PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_NO_PROXY_VARIABLES = ("no_grpc_proxy", "no_proxy")
"""Environment variables that gRPC reads; the first that is set counts."""


def _is_address(value: object) -> bool:
    """Return whether gRPC can take a value; it would look up a URL or a bare word as a host."""
    if not isinstance(value, str) or not value.isprintable():
        return False
    return ":" in value and not value.lower().startswith(("http:", "https:"))


def check_token(token: object) -> None:
    """Check that a token can be sent.

    Raises:
        EventError: it cannot.
    """
    if not isinstance(token, str) or (token and not _TOKEN.fullmatch(token)):
        raise EventError(
            "a token is at most 512 printable ASCII characters without spaces; this one is not"
        )


def token_or_default(token: str | None) -> str:
    """Return a token; None for the one in the environment, "" where there is none."""
    return os.environ.get(TOKEN_VARIABLE, "").strip() if token is None else token


def plaintext_or_default(allowed: bool | None) -> bool:
    """Return whether a token may be sent in plain text; None for what the environment says."""
    if allowed is not None:
        return allowed
    return os.environ.get(PLAINTEXT_VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server and how to reach it.

    Attributes:
        address: HOST:PORT, or unix:PATH.
        credentials: for TLS; None = plain text.
        keepalive_seconds: see `KEEPALIVE_SECONDS`.
        token: sent with every call; "" for none.
        plaintext_token: whether to send it without TLS to another machine as well.
    """

    address: str
    credentials: grpc.ChannelCredentials | None = None
    keepalive_seconds: float = KEEPALIVE_SECONDS
    token: str = field(default="", repr=False)
    plaintext_token: bool = False

    def __post_init__(self) -> None:
        if not _is_address(self.address):
            raise EventError(f"an address is HOST:PORT or unix:PATH, got {self.address!r}")
        seconds = self.keepalive_seconds
        if not isinstance(seconds, int | float) or not 0.1 <= seconds <= 86_400:
            raise EventError(
                f"keepalive_seconds must lie in 0.1 to 86400, got {self.keepalive_seconds!r}"
            )
        check_token(self.token)
        if self.token and not (self.credentials or self.plaintext_token or self.is_local):
            raise EventError(
                f"the token would be sent to {self.address} in plain text, for all to read on the "
                "way: use TLS (credentials=..., --tls), or allow it (plaintext_token=True, "
                "--plaintext-token), or send no token (token='', CLICKCUT_TOKEN unset)"
            )

    @property
    def metadata(self) -> Metadata:
        """Metadata of every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    @property
    def options(self) -> list[tuple[str, int]]:
        """Options of a channel to it."""
        keepalive = int(1000 * self.keepalive_seconds)
        return [
            ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
            ("grpc.max_send_message_length", -1),
            # A ping after three quarters of the time, the last quarter to answer it. For the
            # answer, gRPC heeds the second of these two and not the first.
            ("grpc.keepalive_time_ms", 3 * keepalive // 4),
            ("grpc.keepalive_timeout_ms", keepalive // 4),
            ("grpc.http2.ping_timeout_ms", keepalive // 4),
            ("grpc.initial_reconnect_backoff_ms", 100),
            # Not a back-off: gRPC ends an attempt to connect that takes longer than this.
            ("grpc.min_reconnect_backoff_ms", int(1000 * HANDSHAKE_SECONDS)),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            # Else a channel that replaces one on a dead link would share its connection.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", int(not self.is_local)),
        ]

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, so that no proxy is used."""
        scheme, _, rest = self.address.partition(":")
        if scheme in ("unix", "unix-abstract"):
            return True
        text = rest.lstrip("/") if scheme in ("dns", "ipv4", "ipv6") else self.address
        host = text.removeprefix("[").partition("]")[0] if "[" in text else text.rpartition(":")[0]
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def proxy(self) -> str:
        """The variable that names the proxy in use; "" when there is none."""
        if self.is_local:
            return ""
        host = self.address.rpartition(":")[0].strip("[]")
        excluded = next((os.environ[v] for v in _NO_PROXY_VARIABLES if os.environ.get(v)), "")
        if any(name and host.endswith(name) for name in map(str.strip, excluded.split(","))):
            return ""
        return next((v for v in _PROXY_VARIABLES if os.environ.get(v)), "")

    def channel(self) -> grpc.Channel:
        """Return a blocking channel."""
        if self.credentials is None:
            return grpc.insecure_channel(self.address, self.options)
        return grpc.secure_channel(self.address, self.credentials, self.options)

    def aio_channel(self) -> grpc.aio.Channel:
        """Return a channel for the running event loop."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.address, self.options)
        return grpc.aio.secure_channel(self.address, self.credentials, self.options)


def tls_credentials(
    tls: bool = False,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
) -> grpc.ChannelCredentials | None:
    """Return the credentials for command-line options; None for plain text.

    Args:
        tls: whether to use TLS.
        ca: file of CA certificates to trust, PEM; implies TLS. None: those bundled with gRPC.
        cert: certificate chain of the client, PEM; implies TLS. None without.
        key: private key of that certificate, PEM.

    Raises:
        EventError: a file cannot be read, holds no certificate, or certificate and key do not
            belong together.
    """
    if (cert is None) != (key is None):
        raise EventError("a client certificate needs both --cert and --key")
    if not tls and ca is None and cert is None:
        return None
    trusted = None if ca is None else read_file(ca)
    if trusted is not None and b"-----BEGIN CERTIFICATE-----" not in trusted:
        raise EventError(f"{ca}: holds no certificate in PEM form")
    if cert is None or key is None:
        return grpc.ssl_channel_credentials(trusted)
    chain, private = read_file(cert), read_file(key)
    try:  # gRPC would fail at each handshake instead, without saying why
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise EventError(
            f"cannot use the certificate {cert} with the key {key}: both must be PEM, not "
            f"encrypted, and belong together ({getattr(error, 'reason', None) or error})"
        ) from error
    return grpc.ssl_channel_credentials(trusted, private, chain)


def read_file(path: Path) -> bytes:
    """Return the content of a file that a user named.

    Raises:
        EventError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise EventError(f"{path}: cannot be read ({error.strerror})") from error


# ---- channels that are replaced


@dataclass(slots=True, eq=False)
class Lease(Generic[C]):
    """A channel in use.

    Attributes:
        channel: of gRPC.
        stub: on it.
        created: time of `time.monotonic` before which it made no attempt to connect.
    """

    channel: C
    stub: Any = field(init=False)
    created: float = field(default_factory=time.monotonic, init=False)
    uses: int = 0
    abandoned: bool = False

    def __post_init__(self) -> None:
        self.stub = clickcut_pb2_grpc.ClickcutStub(self.channel)  # type: ignore[call-overload]


class Channels(Generic[C]):
    """Hands out the current channel to a server; created at first use, replaced when abandoned.

    Args:
        make: creates a channel.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._present: Lease[C] | None = None
        self.closed = False

    def take(self) -> Lease[C]:
        """Use the current channel; give it back with `release`.

        Raises:
            UsageError: the client is closed.
        """
        with self._lock:
            if self.closed:
                raise UsageError("the client is closed; create a new one")
            if self._present is None:
                self._present = Lease(self._make())
            self._present.uses += 1
            return self._present

    def release(self, lease: Lease[C]) -> C | None:
        """Give a channel back; return it if it must be closed."""
        with self._lock:
            lease.uses -= 1
            return lease.channel if lease.abandoned and not lease.uses else None

    def abandon(self, lease: Lease[C]) -> None:
        """Stop handing out this channel: it has no connection, or one that may be dead."""
        with self._lock:
            lease.abandoned = True
            if self._present is lease:
                self._present = None

    def close(self) -> C | None:
        """Stop handing out channels; return the current one, to be closed."""
        with self._lock:
            self.closed = True
            lease, self._present = self._present, None
            return lease.channel if lease is not None else None
