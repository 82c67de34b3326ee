"""The log of a server: plain lines or JSON, with the ids of the request and of its session.

The ids are context variables: they follow a request through the event loop's tasks and, because
the compute pool runs each job in the context of its request, through the threads.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from clickcut import tracing
from clickcut.server.peers import LOCAL, Peer

REQUEST_ID_KEY = "x-request-id"
"""Metadata of a request, and trailing metadata of its reply."""

LogFormat = Literal["text", "json"]

_VALID_ID = re.compile(r"[\x21-\x7e]{1,128}")
_SHOWN = 8
"""Characters of a session's id that are logged: the whole id would let a reader resume it."""

_progress = logging.getLogger("clickcut.server.progress")
_is_json = False


@dataclass(slots=True)
class RequestContext:
    """What the log says about the request that a line belongs to.

    Attributes:
        request_id: sent by the client as `x-request-id`, or made by the server.
        method: of gRPC, with its service.
        peer: who sent it.
        session_id: the first characters of the session's id; "" before it is known.
    """

    request_id: str
    method: str
    peer: Peer
    session_id: str = ""


_current: ContextVar[RequestContext | None] = ContextVar("request", default=None)


@contextmanager
def request(
    method: str, peer: Peer, metadata: Iterable[tuple[str, str | bytes]] | None
) -> Iterator[RequestContext]:
    """Set the request for all lines that are logged in the context.

    Args:
        method: of gRPC, with its service.
        peer: who sent it.
        metadata: of the request; an id that is missing, too long or not printable is replaced.
    """
    sent = next((value for key, value in metadata or () if key == REQUEST_ID_KEY), "")
    valid = isinstance(sent, str) and _VALID_ID.fullmatch(sent)
    request_id = str(sent) if valid else secrets.token_hex(8)
    entered = RequestContext(request_id, method, peer)
    token = _current.set(entered)
    try:
        yield entered
    finally:
        _current.reset(token)


def in_session(session_id: str) -> None:
    """Note the session of the current request, if there is one."""
    if (current := _current.get()) is not None:
        current.session_id = shown_id(session_id)


def current_peer() -> Peer:
    """Return who sent the current request; `LOCAL` outside of requests."""
    current = _current.get()
    return LOCAL if current is None else current.peer


def shown_id(session_id: str) -> str:
    """Return the part of a session's id that may be logged."""
    return session_id[:_SHOWN]


def configure(level: str, form: LogFormat) -> None:
    """Log to stderr, Python's warnings included.

    Args:
        level: minimum severity, by name.
        form: "json": one object per line, uncaught exceptions and progress included.
    """
    global _is_json
    _is_json = form == "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if _is_json else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if _is_json:
        logging.captureWarnings(True)
        _progress.setLevel(logging.INFO)  # whatever the level: it says when the server serves
        sys.excepthook = lambda kind, error, trace: logging.getLogger("clickcut").critical(
            "uncaught exception", exc_info=(kind, error, trace)
        )


def progress(text: str) -> None:
    """Report the server's progress: a line on stdout, or of the log if that is JSON."""
    if _is_json:
        _progress.info("%s", text)
    else:
        print(text, flush=True)


def failed(error: Exception) -> None:
    """Report on stderr why the server cannot start."""
    if _is_json:
        _progress.critical("%s", error)
    else:
        print(f"clickcut: {error}", file=sys.stderr)


def _ids() -> dict[str, str]:
    current = _current.get()
    if current is None:
        return {}
    ids = {"request_id": current.request_id}
    return ids | {"session_id": current.session_id} if current.session_id else ids


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time (ISO 8601, UTC), level, logger, message, and where they are known ids of
        request, session and trace, method, peer, name of the token and exception."""
        time = datetime.fromtimestamp(record.created, UTC)
        fields = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ids(),
        }
        if (current := _current.get()) is not None:
            fields |= {"method": current.method, "peer": current.peer.connection}
            if current.peer.owner:
                fields["token"] = current.peer.owner
        if trace_id := tracing.trace_id():
            fields["trace_id"] = trace_id
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class TextFormatter(logging.Formatter):
    """A record as text; the ids are at the end of its first line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the first line."""
        names = {"request_id": "request", "session_id": "session"}
        ids = ", ".join(f"{names[key]} {value}" for key, value in _ids().items())
        return f"{super().formatMessage(record)}{f' ({ids})' if ids else ''}"
