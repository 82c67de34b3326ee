"""Sessions that outlive the process: kept in a store with their images, and restored from it.

A session in memory is the result of its events in the store. An event is applied first and appended
to the store before it is acknowledged; when the store refuses it, the session goes back to what it
was before. When the outcome of a write is not known, the session is compared with the store before
its next event.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from clickcut.errors import (
    ClickcutError,
    EventError,
    ImageError,
    ImageNotFoundError,
    SessionNotFoundError,
    StoreUnavailableError,
    TakenOverError,
)
from clickcut.server.durability import Change, Volatile
from clickcut.server.held_session import HeldSession
from clickcut.server.image_store import Found, check_digest
from clickcut.server.job import Steps
from clickcut.server.journal import Journal
from clickcut.server.opening import begin
from clickcut.server.peers import Peer
from clickcut.server.quotas import StoreShares
from clickcut.server.requests import apply_event, parameters_of, window_of
from clickcut.store import NO_EVENTS, Append, ConflictError, Create, Opening, Stored
from clickcut.v1 import clickcut_pb2 as pb

if TYPE_CHECKING:
    from clickcut.image_file import Window
    from clickcut.server.core import Core

_log = logging.getLogger(__name__)


class Durable(Volatile):
    """Sessions that continue in another process.

    Args:
        core: of the server.
        journal: where they are kept.
        shares: of each token.
    """

    def __init__(self, core: Core, journal: Journal, shares: StoreShares) -> None:
        super().__init__(core)
        self._journal = journal
        self._shares = shares

    # ---- images

    async def find_image(
        self, digest: str, window: Window | None, peer: Peer, for_session: bool = False
    ) -> Found:
        """See `Volatile.find_image`; an image that is only in the store is decoded again."""
        check_digest(digest)
        if for_session and not await self._journal.touch_image(peer.owner, digest):
            raise ImageNotFoundError(f"no image with digest {digest} is stored: send the image")
        try:
            return Found(self._core.images.find(digest, window, peer.owner), True)
        except ImageNotFoundError:
            data = await self._journal.get_image(peer.owner, digest)
            if data is None:
                raise
        with self._core.incoming.taking(len(data)):
            return await self._core.images.add(data, digest, peer, window)

    async def keep_image(self, owner: str, digest: str, data: bytes | bytearray) -> None:
        """See `Volatile.keep_image`."""
        await self._journal.put_image(owner, digest, data, self._shares.images(owner))

    # ---- sessions

    async def create(self, held: HeldSession, opening: pb.Open, model: str) -> None:
        """See `Volatile.create`."""
        start = pb.Open(parameters=opening.parameters)
        if opening.HasField("window"):
            start.window.CopyFrom(opening.window)
        image = held.session.image.digest
        owner = held.peer.owner
        stored = Opening(held.id, owner, image, model, start.SerializeToString())
        await self._journal.write(Create(stored, self._shares.sessions(owner)))
        held.epoch = 1

    async def find(self, session_id: str, peer: Peer) -> HeldSession:
        """See `Volatile.find`; a session that is only in the store is begun again, empty."""
        try:
            return self._core.sessions.find(session_id, peer.owner)
        except SessionNotFoundError:
            stored = await self._journal.load(session_id, peer.owner, NO_EVENTS)
            if stored is None:
                raise
        return await self._begin_again(stored, peer)

    async def take(self, held: HeldSession) -> None:
        """See `Volatile.take`; applies the events that others have added."""
        await self._catch_up(held, take=True)

    async def change(
        self, held: HeldSession, request: pb.SessionRequest, work: Change
    ) -> pb.SessionReply:
        """See `Volatile.change`."""
        if held.unsure:
            await self._catch_up(held, take=False)
        before, applied, events = held.session.snapshot(), held.applied, held.events
        try:
            return await work()
        finally:
            if held.events > events:  # even if its result could not be encoded
                try:
                    await self._append(held, request)
                except ClickcutError:
                    await asyncio.to_thread(held.session.go_back, before)
                    held.applied, held.events = applied, events
                    raise

    async def drop(self, session_id: str) -> None:
        """See `Volatile.drop`."""
        await self._journal.drop(session_id)

    async def prune(self) -> None:
        """See `Volatile.prune`."""
        await self._journal.prune()

    async def describe(self) -> list[str]:
        """See `Volatile.describe`."""
        for warning in await self._journal.warnings():
            _log.warning("%s", warning)
        return [f"store     {self._journal.describe()}"]

    async def close(self) -> None:
        """See `Volatile.close`."""
        await self._journal.close()

    async def _append(self, held: HeldSession, request: pb.SessionRequest) -> None:
        event = pb.SessionRequest()
        event.CopyFrom(request)
        event.ClearField("output")
        data = event.SerializeToString()
        try:
            share = self._shares.sessions(held.peer.owner)
            await self._journal.write(Append(held.id, held.epoch, held.events - 1, data, share))
        except (StoreUnavailableError, ConflictError):
            held.unsure = True  # the write may be in the store all the same
            raise
        except SessionNotFoundError:
            self._core.sessions.drop(held)
            raise

    async def _begin_again(self, stored: Stored, peer: Peer) -> HeldSession:
        """Return a session in its first state; its events follow when a stream takes it."""
        core, opening = self._core, stored.opening
        core.check_accepting()
        core.sessions.check_room(peer)
        predictor = core.models.with_key(opening.model)
        if predictor is None:
            raise SessionNotFoundError(
                f"the session was made with the model {opening.model.partition(' ')[0]} in a form "
                "that this server does not serve; open a new one"
            )
        try:
            start = pb.Open.FromString(opening.start)
            parameters = parameters_of(start.parameters, predictor.metadata.parameters)
            found = await self.find_image(opening.image, window_of(start), peer)
        except (DecodeError, EventError, ImageError, ImageNotFoundError) as error:
            raise _lost(opening.session_id, error) from error
        held, _, _ = await begin(
            core, found.image, predictor, parameters, peer, lambda _: None, opening.session_id
        )
        core.metrics.store.count_restored()
        return held

    async def _catch_up(self, held: HeldSession, take: bool) -> None:
        """Apply the events that are in the store and not yet in the session.

        Args:
            held: the session, its lock held.
            take: begin a new epoch; else check that no other process has begun one.
        """
        stored = await self._journal.load(held.id, held.peer.owner, held.events, take)
        if stored is None or stored.position < held.events:
            self._core.sessions.drop(held)
            raise SessionNotFoundError(
                "the session is not in the store any more, or not all of it; open a new one"
            )
        if not take and stored.epoch != held.epoch:
            raise TakenOverError("another stream has resumed this session")
        held.epoch = stored.epoch
        if stored.events:
            self._core.check_growth(held)
            await self._core.pool.run_steps(_replay(held, stored.events), held.peer)
        held.unsure = False
        held.nbytes = held.session.nbytes
        if held.events != stored.position:  # an event could not be applied
            self._core.sessions.drop(held)
            raise _lost(held.id, f"event {held.events} of {stored.position} cannot be applied")


def _replay(held: HeldSession, events: list[bytes]) -> Steps[None]:
    """In threads: apply stored events one after the other, up to one that cannot be applied."""
    for data in events:
        try:
            request = pb.SessionRequest.FromString(data)
            applied = apply_event(held.session, request)
        except (ClickcutError, DecodeError) as error:
            _log.error("event %d of session %s...: %s", held.events, held.id[:6], error)
            return
        if applied is None:
            return
        held.events += 1
        held.applied = max(held.applied, request.sequence)
        yield


def _lost(session_id: str, why: object) -> SessionNotFoundError:
    """Return the error of a stored session that cannot be restored, and log why."""
    _log.error("session %s... cannot be restored: %s", session_id[:6], why)
    return SessionNotFoundError(f"the session cannot be restored ({why}); open a new one")
