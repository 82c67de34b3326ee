"""The images of a store in Redis, by owner; see `clickcut.store.redis_scripts` for the keys."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from clickcut.store import base, redis_scripts
from clickcut.store.base import FORMAT, Limits, owner_key

_log = logging.getLogger(__name__)

PREFIX = f"clickcut:{FORMAT}:"
"""Of all keys."""

_SIZES, _IMAGE_BYTES = f"{PREFIX}sizes", f"{PREFIX}image-bytes"
_NO_SHARE = -1
"""To a script: the owner has no share of its own."""


def image_name(owner: str, digest: str) -> str:
    """Return the name of an image within the keys."""
    return f"{owner_key(owner)}:{digest}"


def share_argument(share: int | None) -> int:
    """Return a share as an argument of a script."""
    return _NO_SHARE if share is None else share


class RedisImages:
    """Images in Redis.

    Args:
        redis: client.
        named_errors: a context that raises its errors as those of `Store`.
        limits: of the store.
        name: of the store, as it may be shown.
    """

    def __init__(
        self,
        redis: Any,
        named_errors: Callable[[], AbstractContextManager[None]],
        limits: Limits,
        name: str,
    ) -> None:
        self._redis = redis
        self._named_errors = named_errors
        self._limits = limits
        self._name = name

    def put(
        self, owner: str, digest: str, data: bytes | bytearray, share: int | None = None
    ) -> None:
        """See `Store.put_image`."""
        if self.touch(owner, digest):
            return
        name, key, limit = image_name(owner, digest), owner_key(owner), self._limits.max_image_bytes
        for _ in range(3):  # room may have to be made in the share, then among all
            with self._named_errors():
                answer = self._redis.eval(
                    redis_scripts.PUT_IMAGE,
                    4,
                    f"{PREFIX}image:{name}",
                    f"{PREFIX}images:{key}",
                    _SIZES,
                    _IMAGE_BYTES,
                    name,
                    memoryview(data),
                    limit,
                    key,
                    share_argument(share),
                )
            if answer == b"ok":
                return
            if answer == b"share":
                self._prune(key, len(data))
            else:
                self._make_room(len(data))
        raise base.image_share_used(share or 0) if answer == b"share" else base.images_full(limit)

    def get(self, owner: str, digest: str) -> bytes | None:
        """See `Store.get_image`."""
        if not self.touch(owner, digest):
            return None
        with self._named_errors():
            data: bytes | None = self._redis.get(f"{PREFIX}image:{image_name(owner, digest)}")
        if data is not None and hashlib.sha256(data).hexdigest() != digest:
            _log.error("the image %s in %s is damaged; it is not used", digest, self._name)
            return None
        return data

    def touch(self, owner: str, digest: str) -> bool:
        """See `Store.touch_image`."""
        name = image_name(owner, digest)
        with self._named_errors():
            found = self._redis.eval(
                redis_scripts.TOUCH_IMAGE,
                2,
                f"{PREFIX}image:{name}",
                f"{PREFIX}images:{owner_key(owner)}",
                name,
            )
        return bool(found)

    def _make_room(self, wanted: int) -> None:
        """Remove images of no session until `wanted` bytes are free."""
        for owner in self._owners():
            wanted -= self._prune(owner, wanted)
            if wanted <= 0:
                return

    def _owners(self) -> list[str]:
        """Return the owners that have images, the one with the most bytes first."""
        with self._named_errors():
            held = self._redis.hgetall(_IMAGE_BYTES)
        return [owner.decode() for owner in sorted(held, key=lambda o: int(held[o]), reverse=True)]

    def _prune(self, owner: str, wanted: int) -> int:
        """Remove images of no session: until `wanted` bytes are free, and all expired ones.

        Args:
            owner: as in keys.
            wanted: bytes.

        Returns:
            Bytes removed.
        """
        offset = freed = 0
        while True:
            with self._named_errors():
                found = self._redis.eval(
                    redis_scripts.PRUNE_IMAGES,
                    3,
                    f"{PREFIX}images:{owner}",
                    _SIZES,
                    _IMAGE_BYTES,
                    PREFIX,
                    max(0, wanted - freed),
                    self._limits.seconds,
                    offset,
                )
            freed += int(found[0])
            if found[1] < 0:
                return freed
            offset += int(found[1])

    def prune(self) -> None:
        """Remove expired images."""
        for owner in self._owners():
            self._prune(owner, 0)
