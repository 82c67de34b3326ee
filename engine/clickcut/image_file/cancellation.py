"""Cancel the decoding of an image from another thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from clickcut.errors import UnavailableError


class Cancellation:
    """Cancels a decoding; from any thread, even before it has begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._stop: Callable[[], None] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Cancel the decoding."""
        with self._lock:
            self._cancelled = True
            if self._stop is not None:
                self._stop()

    def check(self) -> None:
        """Raise if cancelled.

        Raises:
            UnavailableError: it was cancelled.
        """
        if self._cancelled:
            raise UnavailableError("the image is not decoded: the request was cancelled")

    @contextlib.contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop` if cancelled while the context lasts.

        Raises:
            UnavailableError: it was cancelled before.
        """
        with self._lock:
            self.check()
            self._stop = stop
        try:
            yield
        finally:
            with self._lock:
                self._stop = None
