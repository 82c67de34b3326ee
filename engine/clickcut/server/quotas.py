"""What the clients of one token may use at once, and per minute; see `TokenLimits`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from clickcut.errors import BusyError
from clickcut.server.token_file import TokenLimits

LimitsOf = Callable[[str], TokenLimits]
"""Return the limits of a token by its name."""

_MINUTE = 60.0
_REQUEST_SECONDS = 0.05
"""After which a request of the token has probably ended."""


def unlimited(_: str) -> TokenLimits:
    """Return no limits, for a server without tokens."""
    return TokenLimits()


class Quotas:
    """Counts requests and pixels of each token.

    Args:
        limits_of: present limits of a token.
        now: clock, seconds.
    """

    def __init__(self, limits_of: LimitsOf, now: Callable[[], float] = time.monotonic) -> None:
        self.limits_of = limits_of
        self._now = now
        self._requests: Counter[str] = Counter()
        self._pixels: dict[str, tuple[float, float]] = {}
        """Token -> megapixels that it may still decode, and when that was so."""
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def request(self, owner: str) -> Iterator[None]:
        """Count a request while it waits or runs. On the event loop.

        Raises:
            BusyError: its token has as many as it may.
        """
        limit = self.limits_of(owner).requests
        if limit is not None and self._requests[owner] >= limit:
            raise BusyError(
                f"your token has {limit} requests in progress, as many as it may: wait for one, or "
                "have its limit `requests` raised",
                reason="requests of a token",
                retry_after=_REQUEST_SECONDS,
            )
        self._requests[owner] += 1
        try:
            yield
        finally:
            self._requests[owner] -= 1
            if not self._requests[owner]:
                del self._requests[owner]

    def take_pixels(self, owner: str, pixels: int) -> None:
        """Count an image that is about to be decoded. In any thread.

        An image may overdraw what is left, so that one of any size is possible; the next one then
        waits for longer.

        Raises:
            BusyError: its token has used up its share of this minute.
        """
        limit = self.limits_of(owner).megapixels_per_minute
        if limit is None:
            return
        with self._lock:
            now = self._now()
            left, then = self._pixels.get(owner, (limit, now))
            left = min(limit, left + limit * (now - then) / _MINUTE)
            if left > 0:
                self._pixels[owner] = left - 1e-6 * pixels, now
                return
        wait = -left * _MINUTE / limit
        raise BusyError(
            f"your token may send {limit:g} megapixels per minute and has sent more: try again in "
            f"{wait:.0f} s, or have its limit `megapixels-per-minute` raised",
            reason="megapixels of a token",
            retry_after=wait,
        )
