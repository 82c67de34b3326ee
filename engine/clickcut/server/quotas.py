"""What the clients of one token may use at once, and per minute; see `TokenLimits`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from clickcut.errors import BusyError
from clickcut.server.token_file import TokenLimits
from clickcut.store import Limits

LimitsOf = Callable[[str], TokenLimits]
"""Return the limits of a token by its name."""

_MINUTE = 60.0
_MIB = 2**20
_STORE_SHARE = 3 / 4
"""Of the store for each token, unless its limits say otherwise: one alone cannot fill it."""
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
                f"your token has {limit} requests in progress, its maximum: wait for one, or "
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


class StoreShares:
    """How much of the store of sessions each token may use.

    Args:
        limits_of: present limits of a token.
        limits: of the store.
    """

    def __init__(self, limits_of: LimitsOf, limits: Limits) -> None:
        self._limits_of = limits_of
        self._limits = limits

    def sessions(self, owner: str) -> int | None:
        """Return the maximum bytes of an owner's sessions; None without tokens: all of them."""
        return _share(owner, self._limits_of(owner).store_mib, self._limits.max_bytes)

    def images(self, owner: str) -> int | None:
        """Return the maximum bytes of an owner's images; None without tokens: all of them."""
        return _share(owner, self._limits_of(owner).store_image_mib, self._limits.max_image_bytes)


def _share(owner: str, given: float | None, whole: int) -> int | None:
    if not owner:
        return None
    return round(given * _MIB if given is not None else _STORE_SHARE * whole)
