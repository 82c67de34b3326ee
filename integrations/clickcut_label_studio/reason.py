"""Error messages in the status line of HTTP: all that Label Studio passes on of a refusal.

Its `requests` turns a refusal into "422 Client Error: REASON for url: ...", and that is what it
shows to who registers a backend and answers to who clicks; the body is dropped. ASGI has no reason
phrase, so it travels in a header to the protocol, which uvicorn lets one name.
"""

from __future__ import annotations

from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REASON_HEADER = "x-clickcut-reason"
MAX_REASON = 400


def reason_of(message: str) -> str:
    """A message as a reason phrase: one line of ASCII."""
    line = " ".join(message.split())[:MAX_REASON]
    return line.encode("ascii", "replace").decode()


class ReasonProtocol(H11Protocol):
    """HTTP/1.1 of uvicorn with reason phrases."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Connection(h11.SERVER)


class _Connection(h11.Connection):
    def send(self, event: Any) -> Any:
        if isinstance(event, h11.Response):
            name = REASON_HEADER.encode()
            reason = next((value for key, value in event.headers if key == name), event.reason)
            event = h11.Response(
                status_code=event.status_code, headers=list(event.headers), reason=reason
            )
        return super().send(event)
