"""Convert errors to gRPC status codes and back; nothing else does.

A status carries its error's class name in the trailing metadata `clickcut-error`, so that a client
raises the same class; a client of another language has the code. A refusal that may succeed later
says when in `retry-after`, milliseconds.
"""

from __future__ import annotations

import math

from grpc import StatusCode

from clickcut import errors
from clickcut.errors import ClickcutError

MAX_MESSAGE = 1000
"""Maximum length of an error message from the wire, characters; the rest is cut off."""

ERROR_KEY = "clickcut-error"
"""Trailing metadata: the class name of the error."""


RETRY_KEY = "retry-after"
"""Trailing metadata: milliseconds after which to try again, a decimal number."""

DEFAULT_RETRY_MS = 250
"""Of a busy server that has no estimate; clients come back later each time."""

MAX_RETRY_MS = 3_600_000
"""Maximum that is sent, and that is read from the wire."""

# From the special to the general: the first class that matches gives the code, and the first class
# with a code is what the client raises when the server names no class.
CODES: tuple[tuple[type[ClickcutError], StatusCode], ...] = (
    (errors.EventError, StatusCode.INVALID_ARGUMENT),
    (errors.DroppedEventError, StatusCode.INVALID_ARGUMENT),
    (errors.ImageError, StatusCode.INVALID_ARGUMENT),
    (errors.BusyError, StatusCode.RESOURCE_EXHAUSTED),
    (errors.StoreFullError, StatusCode.RESOURCE_EXHAUSTED),
    (errors.LimitError, StatusCode.RESOURCE_EXHAUSTED),
    (errors.AuthenticationError, StatusCode.UNAUTHENTICATED),
    (errors.SessionNotFoundError, StatusCode.NOT_FOUND),
    (errors.ImageNotFoundError, StatusCode.NOT_FOUND),
    (errors.UnavailableError, StatusCode.UNAVAILABLE),
    (errors.StoreUnavailableError, StatusCode.UNAVAILABLE),
    (errors.TakenOverError, StatusCode.ABORTED),
    (errors.StalledError, StatusCode.DEADLINE_EXCEEDED),
    (errors.CutError, StatusCode.INTERNAL),
    (errors.BundleError, StatusCode.FAILED_PRECONDITION),
    (errors.BackendError, StatusCode.FAILED_PRECONDITION),
    (errors.StoreError, StatusCode.FAILED_PRECONDITION),
    (errors.ServerError, StatusCode.INTERNAL),
)

_BY_NAME = {kind.__name__: kind for kind, _ in CODES}
_BY_CODE = {code: kind for kind, code in reversed(CODES)} | {
    StatusCode.INTERNAL: errors.ServerError
}
_BY_NUMBER: dict[int, StatusCode] = {code.value[0]: code for code in StatusCode}


def code_of(error: ClickcutError) -> StatusCode:
    """Return the status code of an error."""
    return next((code for kind, code in CODES if isinstance(error, kind)), StatusCode.INTERNAL)


def number_of(error: ClickcutError) -> int:
    """Return the status code of an error as the number that the wire has."""
    number: int = code_of(error).value[0]
    return number


def retry_ms_of(error: ClickcutError) -> int | None:
    """Return milliseconds after which to ask the same server again, at least 1; None for none.

    A server that is shutting down names none: another one may answer at once.
    """
    if not isinstance(error, errors.BusyError):
        return None
    wanted = math.ceil(1e3 * error.retry_after) or DEFAULT_RETRY_MS
    return min(max(1, wanted), MAX_RETRY_MS)


def seconds_of(milliseconds: object) -> float:
    """Return the seconds for what a server sent under `RETRY_KEY`; 0 for what is no such number."""
    text = str(milliseconds)
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_RETRY_MS))):
        return 0.0
    return min(int(text), MAX_RETRY_MS) / 1e3


def error_of(
    code: StatusCode | int, message: str, name: str = "", retry_after: float = 0.0
) -> ClickcutError:
    """Return the error that a status stands for.

    Args:
        code: of the status.
        message: of the status; it comes from outside and may end in a terminal, so control
            characters are replaced and its length is limited.
        name: what its trailing metadata says under `ERROR_KEY`; "" when it says nothing.
        retry_after: seconds, see `seconds_of`.
    """
    status = code if isinstance(code, StatusCode) else _BY_NUMBER.get(code, StatusCode.UNKNOWN)
    kind = _BY_NAME.get(name) or _BY_CODE.get(status, errors.ServerError)
    return kind(message[:MAX_MESSAGE] or status.name, retry_after=retry_after)
