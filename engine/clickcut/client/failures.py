"""Convert errors of RPCs to errors that say what to do."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Any, TypeVar

import grpc

from clickcut.client.channel import Channels, Endpoint, Lease
from clickcut.client.replies import InvalidReplyError
from clickcut.errors import ClickcutError, LimitError, StalledError, UnavailableError, printable
from clickcut.grpc_status import ERROR_KEY, MAX_MESSAGE, RETRY_KEY, error_of, seconds_of

C = TypeVar("C")

_NOT_CONNECTED = re.compile(
    r"failed to connect|resol(ution|ve)|addresses|TRANSIENT_FAILURE|Connection refused", re.I
)
"""Details of a status which mean that there was no connection."""

_NOT_THERE = re.compile(r"refused|timed? ?out|route|unreachable|resol(ution|ve)|DNS", re.I)
"""... that nothing answers at the address."""

_DAMAGED = re.compile(r"deserializ|parsing", re.I)
"""... that a reply cannot be parsed."""

_NO_TLS_THERE = re.compile(r"WRONG_VERSION_NUMBER|wrong version number|PACKET_LENGTH_TOO_LONG")
"""... that a client with TLS got an answer in plain text."""

_TLS_REFUSED = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate|Peer name|handshake", re.I)
"""... that the two ends could not agree on TLS."""

_ENDED = re.compile(r"Socket closed|connection reset", re.I)
"""... that the server ended the connection, as one does that asks for a client certificate."""

_BODY_LIMIT = re.compile(r"status: 413|HTTP status code 413|Request Entity Too Large", re.I)
"""... that a proxy answered with HTTP 413."""

_GATEWAY = re.compile(r"status: 50[234]|HTTP status code 50[234]")
"""... that a proxy could not reach the server behind it."""

_NO_APPLICATION = re.compile(r"^Application ('.*' not found|metadata not set)")
"""... that Ray Serve answers, and the application does not run there (yet)."""

_NO_SERVER_BEHIND = re.compile(
    r"no healthy upstream|reset reason: (remote |local )?connection failure"
)
"""... that Envoy found no server to send the request to, so that none has received it."""

_TRANSPORT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }
)
"""Codes of a broken connection, or of a proxy whose backend died, when no server named an error.
"""


_PROBE_SECONDS = 1.0
"""Seconds to find out whether a server speaks TLS."""


class UnreachableError(UnavailableError):
    """There is no connection to the server, or it broke.

    Attributes:
        broke: whether an established connection broke, so a request may have been received.
        no_connection: whether the attempt to connect failed.
        is_old: whether that attempt may have been made before the call, so that the server may be
            there by now.
    """

    broke = False
    no_connection = False
    is_old = False


class BodyLimitError(LimitError):
    """A proxy between client and server refuses messages of this size."""


def connection_broke(message: str) -> UnreachableError:
    """Return the error of an established connection that broke."""
    error = UnreachableError(message)
    error.broke = True
    return error


def not_sent(error: ClickcutError) -> ClickcutError:
    """Return the same error, of a connection that broke before the request was sent."""
    if isinstance(error, UnreachableError):
        error.broke = False
    return error


def broke(error: ClickcutError) -> bool:
    """Return whether a connection broke that a request may have been sent on."""
    return isinstance(error, UnreachableError) and error.broke


def failure(
    rpc_error: grpc.RpcError,
    endpoint: Endpoint,
    channels: Channels[C],
    lease: Lease[C],
    started: float,
) -> ClickcutError:
    """Return the error that an RPC ended with; abandon a channel that could not connect.

    Such a channel would answer the next calls with the same failure until its back-off ends,
    whether a server is there by then or not; gRPC for Python cannot cut the back-off short.

    Args:
        rpc_error: of the RPC.
        endpoint: of the server.
        channels: of the client.
        lease: of the channel that was used.
        started: when the call began that the RPC belongs to, by `time.monotonic`.
    """
    error = error_of_rpc(rpc_error, endpoint)
    if isinstance(error, UnreachableError) and error.no_connection:
        channels.abandon(lease)
        error.is_old = lease.created < started
    return error


def error_of_rpc(error: grpc.RpcError, endpoint: Endpoint) -> ClickcutError:
    """Return the error that an RPC ended with."""
    metadata: Any = error.trailing_metadata() or ()
    trailing: dict[str, Any] = dict(tuple(pair) for pair in metadata)
    name = str(trailing.get(ERROR_KEY, ""))
    retry_after = seconds_of(trailing.get(RETRY_KEY, ""))
    code, details = error.code(), printable(error.details() or "", MAX_MESSAGE)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return LimitError(f"a message to or from {endpoint.address} is too large ({details})")
    address = endpoint.address
    if not name and code is grpc.StatusCode.NOT_FOUND and _NO_APPLICATION.search(details):
        return UnavailableError(
            f"Ray Serve answers at {address}, and the application is not running there (yet): "
            f"{details}"
        )
    if not name and code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return StalledError(f"{address} did not answer in time ({details})")
    if name or code not in _TRANSPORT:
        return error_of(code, details, name, retry_after)
    if _BODY_LIMIT.search(details):
        return BodyLimitError(
            f"a proxy in front of {address} refuses messages of this size (HTTP 413): raise its "
            "body limit (nginx: client_max_body_size 0)"
        )
    if _DAMAGED.search(details):
        return InvalidReplyError(f"{address} sent a reply that cannot be read ({details})")
    if _GATEWAY.search(details):
        return connection_broke(
            f"a proxy answers at {address}, and the server behind it does not ({details})"
        )
    if _NO_SERVER_BEHIND.search(details):
        return UnreachableError(
            f"a proxy answers at {address}, and there is no server behind it now ({details})"
        )
    if not _NOT_CONNECTED.search(details):
        hint = _plain_text_hint(endpoint) if code is grpc.StatusCode.UNAVAILABLE else ""
        return connection_broke(f"the connection to {address} broke{hint} ({details})")
    unreachable = UnreachableError(
        f"no connection to a server at {address}: {_reason(endpoint, details)} ({details})"
    )
    unreachable.no_connection = True
    return unreachable


def _reason(endpoint: Endpoint, details: str) -> str:
    if endpoint.credentials is not None and _NO_TLS_THERE.search(details):
        return "it answers in plain text, and this client uses TLS; omit the credentials"
    if endpoint.credentials is not None and _TLS_REFUSED.search(details):
        return (
            "TLS failed: its certificate is not signed by the authority given, or is for another "
            "host name"
        )
    if endpoint.credentials is not None and _ENDED.search(details):
        return (
            "it ended the TLS handshake: it asks for a client certificate of its authority "
            "(--cert and --key), or does not accept this one"
        )
    reason = "is it running (clickcut serve)?"
    if not _NOT_THERE.search(details):
        reason += _plain_text_hint(endpoint)
    if endpoint.proxy:
        reason += (
            f" The variable {endpoint.proxy} is set, so the connection goes through that proxy; "
            "unset it, or add the host to no_proxy."
        )
    return reason


def _plain_text_hint(endpoint: Endpoint) -> str:
    """Return a hint for a plain-text client whose connection a TLS server closed."""
    if endpoint.credentials is not None or endpoint.address.startswith("unix"):
        return ""
    return " If it speaks TLS, give credentials (--tls)." if _speaks_tls(endpoint.address) else ""


def _speaks_tls(address: str) -> bool:
    """Return whether a TLS handshake succeeds there; checked only after a failure."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only whether it is TLS, nothing is sent
    context.set_alpn_protocols(["h2"])
    try:
        place = host.rpartition("/")[2].strip("[]"), int(port)
        with (
            socket.create_connection(place, timeout=_PROBE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host or None),
        ):
            return True
    except (OSError, ValueError):
        return False
