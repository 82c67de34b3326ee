"""What decoding may take: memory for all images together, and only while somebody waits for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from clickcut.errors import ImageError, UnavailableError

_MIB = 2**20


class Cancellation:
    """Stops the decoding that it is given to; from any thread, even before it has begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._stop: Callable[[], None] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Stop it."""
        with self._lock:
            self._cancelled = True
            if self._stop is not None:
                self._stop()

    def check(self) -> None:
        """Raise when it is cancelled.

        Raises:
            UnavailableError: it is.
        """
        if self._cancelled:
            raise UnavailableError("the image is not decoded: whoever asked for it has gone")

    @contextlib.contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop` should it be cancelled meanwhile.

        Raises:
            UnavailableError: it was cancelled already.
        """
        with self._lock:
            self.check()
            self._stop = stop
        try:
            yield
        finally:
            with self._lock:
                self._stop = None


class MemoryBudget:
    """Bytes that decoding may take at once; what does not fit waits until there is room.

    Args:
        total: bytes.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, wanted: int, cancellation: Cancellation) -> Iterator[None]:
        """Have so many bytes of it, for as long as the context lasts.

        Raises:
            ImageError: more than there are in all.
            UnavailableError: cancelled while it waited.
        """
        if wanted > self._total:
            raise ImageError(
                f"decoding this image takes about {-(-wanted // _MIB)} MiB, more than the "
                f"{self._total // _MIB} MiB for decoding: scale it down, or start the server with "
                "a larger --decode-memory-mib"
            )
        with cancellation.stopping(self._wake), self._changed:
            while self._used + wanted > self._total:
                cancellation.check()
                self._changed.wait()
            self._used += wanted
        try:
            yield
        finally:
            with self._changed:
                self._used -= wanted
                self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
