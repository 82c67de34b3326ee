"""The errors that clickcut raises. The message says what is wrong and what to do."""

from __future__ import annotations


def printable(text: str, limit: int | None = None) -> str:
    r"""Return text that is safe in terminals and logs: control characters are escaped as \x1b.

    Args:
        text: from an untrusted source.
        limit: characters to keep; None: all.
    """
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class ClickcutError(Exception):
    """Base of all errors below. As text it has no control characters but line breaks.

    Attributes:
        reason: label under which a server counts it; "" for none.
        retry_after: seconds after which a server asks to try again; 0 when it does not say.
    """

    def __init__(self, message: str = "", *, reason: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after

    def __str__(self) -> str:
        return "\n".join(printable(line) for line in super().__str__().split("\n"))


class ImageError(ClickcutError):
    """The image cannot be used: not an image, damaged, too large, or of an unsupported kind."""


class EventError(ClickcutError):
    """An event cannot be applied: a click outside, nothing to undo. The session is as it was."""


class DroppedEventError(EventError):
    """An event broke the connection twice and is not sent again.

    The message names it, and says whether the session is without it: while the server cannot be
    reached, that is not known before the next call.
    """


class LimitError(ClickcutError):
    """A configured limit would be exceeded: too many clicks, sessions or bytes."""


class BusyError(LimitError):
    """The server has too many requests, sessions or bytes at the moment; try again later."""


class UsageError(ClickcutError):
    """A client or session is used in another event loop or process than the one it belongs to."""


class BundleError(ClickcutError):
    """A model file cannot be used: damaged, foreign, incomplete metadata, unsupported."""


class BackendError(ClickcutError):
    """An inference back-end is not available here; the message says what to install."""


class CutError(ClickcutError):
    """The graph cut got an impossible problem: values that are not finite, a bad shape."""


class AuthenticationError(ClickcutError):
    """The server accepts calls with a valid token only: it is missing, wrong or revoked."""


class SessionNotFoundError(ClickcutError):
    """No session has this id: it was closed, evicted, or never existed."""


class ImageNotFoundError(ClickcutError):
    """No image with this digest is held; send the image itself."""


class UnavailableError(ClickcutError):
    """The server is starting, shutting down or cannot be reached; try again."""


class StoreError(ClickcutError):
    """The store of sessions cannot be used: damaged, locked, of another version."""


class StoreUnavailableError(UnavailableError):
    """The store of sessions cannot be reached or written at the moment; nothing was lost."""


class StoreFullError(BusyError):
    """The store of sessions has no room; the event was not applied."""


class TakenOverError(ClickcutError):
    """Another stream has resumed this session."""


class StalledError(ClickcutError):
    """A reply or part of an upload did not arrive in time."""


class ServerError(ClickcutError):
    """A fault inside the server; its log has the details."""
