"""One `Session` stream: requests in, replies out, in order.

A received event is applied completely even if the client disconnects: a separate task does it,
under the session's lock. So a client that resumes finds each event applied or not, never in part.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import grpc

from clickcut import tracing
from clickcut.errors import (
    BusyError,
    ClickcutError,
    EventError,
    SessionNotFoundError,
    TakenOverError,
    UnavailableError,
)
from clickcut.grpc_status import number_of, retry_ms_of
from clickcut.server import logs, replies
from clickcut.server.core import Core
from clickcut.server.edge import Call
from clickcut.server.held_session import HeldSession
from clickcut.server.image_store import Found
from clickcut.server.model_registry import model_key
from clickcut.server.opening import begin
from clickcut.server.requests import apply_event, check_output, parameters_of, window_of
from clickcut.server.sent_state import SentState
from clickcut.server.tokens import Credential
from clickcut.v1 import clickcut_pb2 as pb

_FREEING = ("show", "undo", "reset", "next_object")
"""Events that are allowed when memory is exhausted: they need little, or free some."""


class SessionStream:
    """A stream and the session that it is attached to.

    Args:
        core: of the server.
        context: of the RPC.
    """

    def __init__(self, core: Core, context: Call) -> None:
        self._core = core
        self._context = context
        self._end: asyncio.Future[ClickcutError] = asyncio.get_running_loop().create_future()
        self._held: HeldSession | None = None
        self._sent = SentState()

    @property
    def credential(self) -> Credential:
        """The token that its client presented."""
        return self._context.credential

    def end(self, error: ClickcutError) -> None:
        """End the stream with an error after its running request."""
        if not self._end.done():
            self._end.set_result(error)

    async def run(self) -> None:
        """Serve the stream until it ends.

        Raises:
            ClickcutError: it cannot be opened, or was ended.
        """
        request = await self._read()
        if request is None:
            return
        try:
            with tracing.span("open"):
                held = await self._open(request)
            while (request := await self._read()) is not None:
                reply = await self._core.finish(self._apply(held, request))
                await self._context.write(reply)
                if request.WhichOneof("event") == "close" and not reply.HasField("error"):
                    return
        finally:
            if self._held is not None and self._held.stream is self:
                self._held.stream = None
                self._held.used = time.monotonic()
            self._held = None  # gRPC may keep the stream for a while, the session must not stay

    # ---- the stream

    async def _read(self) -> pb.SessionRequest | None:
        """Return the next request; None when the client has no more."""
        read = asyncio.ensure_future(self._context.read())
        try:
            await asyncio.wait({read, self._end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not read.done():
                read.cancel()
        if self._end.done():  # a request that came with it was not applied: it will be sent again
            raise self._end.result()
        request = read.result()
        return None if request is grpc.aio.EOF else request

    def _attach(self, held: HeldSession) -> None:
        older, held.stream, held.used = held.stream, self, time.monotonic()
        held.peer = self._context.peer
        self._held = held
        logs.in_session(held.id)
        if older is not None:
            older.end(TakenOverError("another stream has resumed this session"))

    # ---- open

    async def _open(self, request: pb.SessionRequest) -> HeldSession:
        arrived = time.perf_counter()
        if request.WhichOneof("event") != "open":
            raise EventError("the first request of a stream must be `open`")
        opening = request.open
        check_output(opening.output)
        if request.HasField("output"):
            check_output(request.output)
        self._sent.output = opening.output
        resumes = opening.WhichOneof("source") == "session_id"
        with self._core.quotas.request(self._context.peer.owner):
            if resumes:
                held, reply = await self._resume(request)
            else:
                held, reply = await self._open_new(request)
        reply.session_id = held.id
        reply.sequence = request.sequence
        reply.applied_sequence = held.applied
        reply.image.CopyFrom(replies.image_info(held.session.image, held.model))
        self._count_request(reply, "resume" if resumes else "open", arrived)
        try:
            await self._context.write(reply)
        except BaseException:
            if not resumes:  # the client never learns the id
                self._drop(held)
            raise
        return held

    async def _resume(self, request: pb.SessionRequest) -> tuple[HeldSession, pb.SessionReply]:
        durability = self._core.durability
        held = await durability.find(request.open.session_id, self._context.peer)
        self._attach(held)
        async with held.lock:  # an event of the broken stream may still be running
            await durability.take(held)
            reply = await self._compute(lambda: self._sent.reply(held.session, request, None))
        return held, reply

    async def _open_new(self, request: pb.SessionRequest) -> tuple[HeldSession, pb.SessionReply]:
        core, opening = self._core, request.open
        core.check_accepting()
        core.sessions.check_room(self._context.peer)
        choice = core.models.find(opening.model)
        found = await self._find_image(opening)
        image = found.image
        predictor = choice.of(image.digest)
        parameters = parameters_of(opening.parameters, predictor.metadata.parameters)
        held, reply, queue = await begin(
            core,
            image,
            predictor,
            parameters,
            self._context.peer,
            lambda session: self._sent.reply(session, request, None),
            had_turn=found.had_turn,
        )
        self._attach(held)
        try:
            await core.durability.create(held, opening, model_key(predictor))
        except BaseException:
            self._drop(held)
            raise
        reply.timings.decode = found.decode
        reply.timings.queue = found.queue + queue
        return held, reply

    def _drop(self, held: HeldSession) -> None:
        """Drop a session whose client does not know of it."""
        self._core.sessions.drop(held)
        self._core.start(self._core.durability.drop(held.id))

    async def _find_image(self, opening: pb.Open) -> Found:
        source, window = opening.WhichOneof("source"), window_of(opening)
        core, peer = self._core, self._context.peer
        if source == "image":
            found = await core.images.add(opening.image, peer=peer, window=window)
            await core.durability.keep_image(peer.owner, found.image.digest, opening.image)
            return found
        if source == "image_digest":
            return await core.durability.find_image(
                opening.image_digest, window, peer, for_session=True
            )
        raise EventError("`open` needs an image, an image_digest or a session_id")

    # ---- events

    async def _apply(self, held: HeldSession, request: pb.SessionRequest) -> pb.SessionReply:
        """Apply an event and build its reply; an error that it raises becomes the reply."""
        kind = request.WhichOneof("event") or "nothing"
        with tracing.span(kind, {"clickcut.sequence": request.sequence}):
            return await self._answer(held, request, kind)

    async def _answer(
        self, held: HeldSession, request: pb.SessionRequest, kind: str
    ) -> pb.SessionReply:
        arrived = time.perf_counter()
        async with held.lock:
            if held.stream is not self:
                raise TakenOverError("another stream has resumed this session")
            session = held.session
            if held.unsure:  # it will change by events that this stream has not seen
                self._sent.expect_any_change()
            events, sent = held.events, self._sent.mark()
            try:
                check_output(request.output)
                if kind == "close":
                    self._core.record(held)
                    self._core.sessions.drop(held)
                    await self._core.durability.drop(held.id)
                    reply = pb.SessionReply()
                    replies.add_state(reply, session)
                else:
                    with self._core.quotas.request(self._context.peer.owner):
                        reply = await self._core.durability.change(
                            held, request, lambda: self._change(held, request, kind in _FREEING)
                        )
            except (SessionNotFoundError, TakenOverError):
                raise  # the session is not here any more
            except Exception as raised:  # an error of one event must not end the session
                if held.events == events:  # it was not applied, or it was taken back
                    self._sent.go_back(sent)
                reply = self._refusal(raised)
                replies.add_state(reply, session)
            self._core.sessions.used(held, reply.memory_bytes)
            reply.session_id = held.id
            reply.sequence = request.sequence
            reply.applied_sequence = held.applied
        self._count_request(reply, kind, arrived)
        return reply

    async def _change(
        self, held: HeldSession, request: pb.SessionRequest, frees: bool
    ) -> pb.SessionReply:
        """Apply an event and build its reply."""
        if frees:
            return await self._compute(lambda: self._apply_and_show(held, request))
        self._core.check_growth(held)
        return await self._compute(lambda: self._grow_and_show(held, request))

    def _refusal(self, raised: Exception) -> pb.SessionReply:
        error = self._core.known_error(raised)
        tracing.mark_failed(str(error))
        reply = pb.SessionReply(error=pb.Error(code=number_of(error), message=str(error)))
        if isinstance(error, BusyError | UnavailableError):
            reply.error.retry = True
            reply.error.retry_after_ms = retry_ms_of(error) or 0
        return reply

    def _grow_and_show(self, held: HeldSession, request: pb.SessionRequest) -> pb.SessionReply:
        """In a thread: `_apply_and_show` if there is memory for it."""
        with self._core.computing_on(held.session.image):
            return self._apply_and_show(held, request)

    def _apply_and_show(self, held: HeldSession, request: pb.SessionRequest) -> pb.SessionReply:
        """In a thread: apply an event that is new, show the state."""
        step = None
        if request.sequence == 0 or request.sequence > held.applied:
            step = apply_event(held.session, request)
            if step is not None:
                held.events += 1
                held.applied = request.sequence or held.applied
        return self._sent.reply(held.session, request, step)

    async def _compute(self, work: Callable[[], pb.SessionReply]) -> pb.SessionReply:
        seconds = self._core.settings.request_seconds
        reply, queue = await self._core.pool.run(work, self._context.peer, seconds)
        reply.timings.queue = queue
        return reply

    def _count_request(self, reply: pb.SessionReply, kind: str, arrived: float) -> None:
        reply.timings.total = 1e3 * (time.perf_counter() - arrived)
        if not reply.HasField("error"):
            self._core.metrics.count(kind, reply.timings)
