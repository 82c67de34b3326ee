"""The interface of stores. A store knows nothing of what events mean: they are bytes to it.

A session in a store is its opening and a list of events, numbered from 0 without gaps. Two rules
let several processes share a store:

* Who resumes a session takes it: its *epoch* increases, and appends of an earlier epoch are refused
  from then on (fencing). So a process that does not know yet that it lost a session writes nothing.
* An append names the position that it expects. An append that is repeated, because its outcome was
  not known, changes nothing and succeeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from clickcut.errors import (
    ClickcutError,
    ImageNotFoundError,
    LimitError,
    SessionNotFoundError,
    StoreFullError,
    TakenOverError,
    UnavailableError,
)

FORMAT = 2
"""Version of what is stored. Stores of another version are refused, or not seen."""

MIB = 2**20

NO_EVENTS = 2**31
"""A position after all events, to load a session without them."""


SESSION_BYTES, EVENT_BYTES = 512, 64
"""What a session and an event count for in their owner's share, beside their contents: about what
they take in the store without any."""


class ConflictError(UnavailableError):
    """A session in the store has other events than expected; load them, then try again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a store.

    Attributes:
        seconds: keep a session after its last event or resumption, and an unused image after its
            last use, for this long.
        max_bytes: of all sessions together; Redis has its own limit, `maxmemory`.
        max_image_bytes: of all images together.
        max_session_bytes: of the events of one session.
        timeout: seconds to wait for the store.
    """

    seconds: float
    max_bytes: int
    max_image_bytes: int
    max_session_bytes: int
    timeout: float


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session begins with.

    Attributes:
        session_id: secret.
        owner: who may load it; "" without authentication.
        image: SHA-256 of the image file, hex; the same owner has put it in the store.
        model: identifies the model, its file and its back-end.
        start: all else that is needed to begin the session.
    """

    session_id: str
    owner: str
    image: str
    model: str
    start: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A session as loaded.

    Attributes:
        opening: what it began with.
        epoch: to append with.
        position: number of its events.
        events: those from the requested position on.
    """

    opening: Opening
    epoch: int
    position: int
    events: list[bytes]


@dataclass(frozen=True, slots=True)
class Create:
    """Create a session without events, epoch 1.

    Attributes:
        opening: of the session.
        share: maximum bytes of all sessions of its owner; None: no limit of its own.
    """

    opening: Opening
    share: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes to store."""
        return len(self.opening.start)


@dataclass(frozen=True, slots=True)
class Append:
    """Append an event to a session.

    Attributes:
        session_id: of the session.
        epoch: in which its writer loaded or created it.
        position: number of events before this one.
        event: opaque.
        share: maximum bytes of all sessions of its owner; None: no limit of its own.
    """

    session_id: str
    epoch: int
    position: int
    event: bytes
    share: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes to store."""
        return len(self.event)


@dataclass(frozen=True, slots=True)
class Drop:
    """Drop a session; one that does not exist is no error."""

    session_id: str

    @property
    def nbytes(self) -> int:
        """Bytes to store."""
        return 0


Write = Create | Append | Drop


class Store(Protocol):
    """Keeps sessions and images. Blocks; may be called from several threads at once.

    Every method raises `StoreUnavailableError` when the store cannot be reached or used at the
    moment, and `StoreFullError` when it has no room; it is then as it was before, or, where the
    connection broke, may contain the write.
    """

    def commit(self, writes: Sequence[Write]) -> list[ClickcutError | None]:
        """Make writes durable together, in order.

        Returns:
            For each write its error, or None: `SessionNotFoundError` (no such session),
            `TakenOverError` (a later epoch has begun), `ConflictError` (another position),
            `LimitError` (the session is too large, or its owner's share is used up),
            `ImageNotFoundError` (a new session's image is not in the store), `StoreFullError`.
        """

    def load(
        self, session_id: str, owner: str, after: int = 0, take: bool = False
    ) -> Stored | None:
        """Return a session; None if its owner has none with this id.

        Args:
            session_id: of the session.
            owner: must be the one that created it.
            after: position of the first event to return.
            take: begin a new epoch, so that no other process can append to it any more.
        """

    def put_image(
        self, owner: str, digest: str, data: bytes | bytearray, share: int | None = None
    ) -> None:
        """Keep an image file; prune unused ones to make room, the longest unused first.

        Beyond a share those of the owner give way, else first those of the owner that has the most
        bytes.

        Args:
            owner: of the image.
            digest: of the file.
            data: the file.
            share: maximum bytes of all images of this owner; None: no limit of its own.

        Raises:
            LimitError: images of the owner's sessions fill its share.
            StoreFullError: images of sessions in the store fill the room for images.
        """

    def get_image(self, owner: str, digest: str) -> bytes | None:
        """Return an image file that this owner has put; None if it is not kept (any more)."""

    def touch_image(self, owner: str, digest: str) -> bool:
        """Count as a use of an image; return whether it is kept."""

    def prune(self) -> int:
        """Remove expired sessions and images; return the number of sessions removed."""

    def describe(self) -> str:
        """Return what it is and where, without secrets, in one line."""

    def warnings(self) -> list[str]:
        """Return what an operator should know about its configuration."""

    def close(self) -> None:
        """Close files and connections."""


def not_found() -> SessionNotFoundError:
    """Return the error of a session that the store does not have."""
    return SessionNotFoundError(
        "the session is not in the store any more: it was closed or has expired; open a new one"
    )


def taken_over() -> TakenOverError:
    """Return the error of a writer whose session was resumed elsewhere."""
    return TakenOverError("another stream has resumed this session")


def conflict(expected: int, found: int) -> ConflictError:
    """Return the error of an append at another position than the next one."""
    return ConflictError(
        f"the store has {found} events of this session, not {expected}; resume the session"
    )


def too_large(limit: int) -> LimitError:
    """Return the error of a session whose events exceed their limit."""
    return LimitError(
        f"the events of a session take at most {limit / MIB:g} MiB in the store: open another "
        "session, or start the server with a larger --store-session-mib",
        reason="stored session",
    )


def image_missing(digest: str) -> ImageNotFoundError:
    """Return the error of a new session whose image was pruned meanwhile."""
    return ImageNotFoundError(f"no image with digest {digest} is in the store: send the image")


def images_full(limit: int) -> StoreFullError:
    """Return the error of an image that has no room beside those of stored sessions."""
    return StoreFullError(
        f"the store has no room for the image beside those of open sessions (together at most "
        f"{limit / MIB:g} MiB): close sessions, or start the server with a larger "
        "--store-image-mib",
        reason="store",
    )


def share_used(share: int) -> LimitError:
    """Return the error of a session or event for which its owner's share has no room."""
    return LimitError(
        f"the sessions of your token take at most {share / MIB:g} MiB in the store: close some, or "
        "have its limit `store-mib` raised",
        reason="stored sessions of a token",
    )


def image_share_used(share: int) -> LimitError:
    """Return the error of an image for which its owner's share has no room."""
    return LimitError(
        f"the store has no room for the image beside those of your token's open sessions (together "
        f"at most {share / MIB:g} MiB): close sessions, or have its limit `store-image-mib` raised",
        reason="stored images of a token",
    )


def owner_key(owner: str) -> str:
    """Return an owner as part of a file name or key: the name itself may hold anything."""
    return hashlib.sha256(owner.encode()).hexdigest()[:16] if owner else "everyone"
