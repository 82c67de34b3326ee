"""What outlives the process. By default, nothing: the interface, and sessions that end with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from clickcut.server.held_session import HeldSession
from clickcut.server.image_store import Found
from clickcut.server.peers import Peer
from clickcut.v1 import clickcut_pb2 as pb

if TYPE_CHECKING:
    from clickcut.image_file import Window
    from clickcut.server.core import Core

Change = Callable[[], Awaitable[pb.SessionReply]]
"""Applies an event to a session, if it is new, and shows the result."""


class Volatile:
    """Sessions that end with the process.

    Args:
        core: of the server.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    async def find_image(
        self, digest: str, window: Window | None, peer: Peer, for_session: bool = False
    ) -> Found:
        """Return an image that the peer's owner has sent.

        Args:
            digest: of the file.
            window: which sample values become 0 and 255.
            peer: who asks.
            for_session: a session will begin on it.

        Raises:
            EventError: not a digest.
            ImageNotFoundError: it must be sent (again).
            ClickcutError: see `ImageStore.add`, `Store.get_image`.
        """
        return Found(self._core.images.find(digest, window, peer.owner), True)

    async def keep_image(self, owner: str, digest: str, data: bytes | bytearray) -> None:
        """Keep an image file, before its sender learns that it is known.

        Raises:
            ClickcutError: see `Store.put_image`.
        """

    async def find(self, session_id: str, peer: Peer) -> HeldSession:
        """Return a session, to be taken by a stream.

        Raises:
            SessionNotFoundError: there is none.
            ClickcutError: it cannot be restored now.
        """
        return self._core.sessions.find(session_id, peer.owner)

    async def take(self, held: HeldSession) -> None:
        """Make a stream the only one that may change a session. Under the session's lock.

        Raises:
            SessionNotFoundError: it has ended meanwhile.
            ClickcutError: it cannot be brought up to date now.
        """

    async def create(self, held: HeldSession, opening: pb.Open, model: str) -> None:
        """Keep a new session, before its client learns of it.

        Args:
            held: the session.
            opening: what it began with.
            model: its key, see `model_key`.

        Raises:
            ClickcutError: see `Store.commit`.
        """

    async def change(
        self, held: HeldSession, request: pb.SessionRequest, work: Change
    ) -> pb.SessionReply:
        """Change a session by an event and keep the event. Under the session's lock.

        Raises:
            ClickcutError: of the work, or the event cannot be kept: the session is as it was.
        """
        return await work()

    async def drop(self, session_id: str) -> None:
        """Drop a session that was closed."""

    async def prune(self) -> None:
        """Remove what has expired."""

    async def describe(self) -> list[str]:
        """Return lines that say where sessions are kept; log what is wrong with it."""
        return []

    async def close(self) -> None:
        """End, after all streams."""
