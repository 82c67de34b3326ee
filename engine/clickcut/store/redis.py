"""A store in Redis (https://redis.io), shared by the engines of several machines.

Sessions expire by the clock of the Redis server, counted from their last event. A single server,
or one with replicas and Sentinel; not Redis Cluster, because a session and its image are in
different slots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from clickcut.errors import ClickcutError, StoreError, StoreFullError, StoreUnavailableError
from clickcut.store import base, redis_scripts
from clickcut.store.base import (
    EVENT_BYTES,
    SESSION_BYTES,
    Append,
    Create,
    Drop,
    Limits,
    Opening,
    Stored,
    Write,
    owner_key,
)
from clickcut.store.redis_images import PREFIX, RedisImages, image_name, share_argument

_CHARGES, _SESSION_BYTES = f"{PREFIX}charges", f"{PREFIX}session-bytes"


def _client(url: str, timeout: float) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise StoreError(
            "a store in Redis needs the package redis: pip install 'clickcut[redis]'"
        ) from error
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 1),  # connections of the pool are dead after a restart of Redis
    )


class RedisStore:
    """A store in Redis; see `clickcut.store.base.Store`.

    Args:
        url: redis://, rediss:// or unix://, with a password if there is one.
        name: the URL as it may be shown.
        limits: of the store.

    Raises:
        StoreError: the package is not installed, or there is no Redis that can be used.
    """

    def __init__(self, url: str, name: str, limits: Limits) -> None:
        self._name = name
        self._limits = limits
        self._expiry = max(1, round(1000 * limits.seconds))
        self._redis = _client(url, limits.timeout)
        self._images = RedisImages(self._redis, self._named_errors, limits, name)
        try:
            with self._named_errors():
                self._redis.ping()
        except ClickcutError as error:
            raise StoreError(
                f"cannot use the store {name}: is Redis running there, and are user and password "
                f"right? ({error.__cause__})"
            ) from error

    # ---- sessions

    def commit(self, writes: Sequence[Write]) -> list[ClickcutError | None]:
        """See `Store.commit`."""
        with self._named_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for write in writes:
                self._add(pipeline, write)
            answers = pipeline.execute(raise_on_error=False)
        return [self._outcome(w, answer) for w, answer in zip(writes, answers, strict=True)]

    def load(
        self, session_id: str, owner: str, after: int = 0, take: bool = False
    ) -> Stored | None:
        """See `Store.load`."""
        with self._named_errors():
            found = self._redis.eval(
                redis_scripts.LOAD,
                2,
                *self._session_keys(session_id),
                owner,
                after,
                int(take),
                self._expiry,
            )
        if found is None:
            return None
        digest, model, start, epoch, position, events = found
        opening = Opening(session_id, owner, digest.decode(), model.decode(), start)
        return Stored(opening, int(epoch), int(position), events)

    def _add(self, pipeline: Any, write: Write) -> None:
        """Add a write to a pipeline."""
        if isinstance(write, Create):
            opening = write.opening
            image = image_name(opening.owner, opening.image)
            owner = owner_key(opening.owner)
            pipeline.eval(
                redis_scripts.CREATE,
                6,
                f"{PREFIX}session:{opening.session_id}",
                f"{PREFIX}image:{image}",
                f"{PREFIX}images:{owner}",
                f"{PREFIX}uses:{image}",
                _CHARGES,
                _SESSION_BYTES,
                opening.session_id,
                opening.owner,
                opening.image,
                opening.model,
                opening.start,
                image,
                self._expiry,
                owner,
                SESSION_BYTES + write.nbytes,
                share_argument(write.share),
            )
            return
        keys = self._session_keys(write.session_id)
        if isinstance(write, Append):
            pipeline.eval(
                redis_scripts.APPEND,
                4,
                *keys,
                _CHARGES,
                _SESSION_BYTES,
                write.epoch,
                write.position,
                write.event,
                self._limits.max_session_bytes,
                self._expiry,
                write.session_id,
                EVENT_BYTES,
                share_argument(write.share),
            )
        else:
            names = *keys, _CHARGES, _SESSION_BYTES
            pipeline.eval(redis_scripts.DROP, 4, *names, write.session_id, f"{PREFIX}uses:")

    def _outcome(self, write: Write, answer: Any) -> ClickcutError | None:
        """Return the error that an answer of a script stands for."""
        if isinstance(answer, Exception):
            return self._named(answer)
        said = answer.decode()
        if said == "ok":
            return None
        if said == "image" and isinstance(write, Create):
            return base.image_missing(write.opening.image)
        if said == "taken":
            return base.taken_over()
        if said == "large":
            return base.too_large(self._limits.max_session_bytes)
        if said == "share" and not isinstance(write, Drop):
            return base.share_used(write.share or 0)
        if said.startswith("at ") and isinstance(write, Append):
            return base.conflict(write.position, int(said[3:]))
        return base.not_found()

    def _session_keys(self, session_id: str) -> tuple[str, str]:
        return f"{PREFIX}session:{session_id}", f"{PREFIX}events:{session_id}"

    # ---- images

    def put_image(
        self, owner: str, digest: str, data: bytes | bytearray, share: int | None = None
    ) -> None:
        """See `Store.put_image`."""
        self._images.put(owner, digest, data, share)

    def get_image(self, owner: str, digest: str) -> bytes | None:
        """See `Store.get_image`."""
        return self._images.get(owner, digest)

    def touch_image(self, owner: str, digest: str) -> bool:
        """See `Store.touch_image`."""
        return self._images.touch(owner, digest)

    # ---- the rest

    def prune(self) -> int:
        """See `Store.prune`; Redis itself removes expired sessions."""
        self._images.prune()
        cursor = 0
        while True:
            with self._named_errors():
                cursor, charges = self._redis.hscan(_CHARGES, cursor, count=1000)
                if charges:
                    keys = _CHARGES, _SESSION_BYTES, f"{PREFIX}session:"
                    self._redis.eval(redis_scripts.FORGET, 3, *keys, *charges)
            if cursor == 0:
                return 0

    def describe(self) -> str:
        """See `Store.describe`."""
        return f"Redis at {self._name}"

    def warnings(self) -> list[str]:
        """See `Store.warnings`."""
        with self._named_errors():
            facts = self._redis.info("persistence") | self._redis.info("memory")
        found = []
        if not int(facts.get("aof_enabled", 0)):
            found.append(
                f"the store {self._name} keeps no append-only file (appendonly no): sessions are "
                "lost when Redis restarts; set appendonly yes"
            )
        policy = str(facts.get("maxmemory_policy", "noeviction"))
        room, wanted = int(facts.get("maxmemory", 0)), self._limits.max_bytes
        wanted += self._limits.max_image_bytes
        if 0 < room < wanted:
            found.append(
                f"the store {self._name} may be full (maxmemory, {room >> 20} MiB) before a limit "
                f"of this server is reached (--store-mib and --store-image-mib, {wanted >> 20} MiB "
                "together): images may take the room of events; lower these, or raise maxmemory"
            )
        if room and policy != "noeviction":
            found.append(
                f"the store {self._name} evicts keys when its memory is full (maxmemory-policy "
                f"{policy}), and with them sessions that clients rely on; set noeviction"
            )
        return found

    def close(self) -> None:
        """See `Store.close`."""
        self._redis.close()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        from redis.exceptions import RedisError

        try:
            yield
        except RedisError as error:
            raise self._named(error) from error

    def _named(self, error: Exception) -> ClickcutError:
        """Return our error for one of Redis."""
        text = str(error).partition("\n")[0]
        # The classes of errors within scripts differ between versions of the client.
        full = ("OutOfMemory" in type(error).__name__) or text.startswith("OOM")
        if full or text.startswith("MISCONF"):
            return StoreFullError(
                f"the store {self._name} takes no more ({text}): close sessions, or give Redis "
                "more maxmemory or room on its disk",
                reason="store",
            )
        return StoreUnavailableError(
            f"the store {self._name} cannot be used at the moment ({text}); try again"
        )
