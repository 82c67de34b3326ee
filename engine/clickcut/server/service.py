"""The RPCs of `clickcut.v1.Clickcut`.

Calls come in through `clickcut.server.edge`, which parses their messages and ends them when their
clients neither send nor read.

Concurrency model. One event loop owns all state of the server: streams, stores, counters. It never
decodes, computes or encodes; that is work for the compute pool, a fixed number of threads behind a
bounded queue, in turns between clients. A session is touched by one thread at a time, which its
asyncio lock ensures; a predictor and an image are shared by many, and are safe for that. Nothing is
awaited between looking at a store and changing it, so the stores need no lock.

Models are reloaded in a separate thread (`clickcut.server.admin`), which touches nothing that
is served; the event loop then swaps one reference. Predictions may be merged into batches inside a
predictor (`clickcut.backends.batching`); its lock is held by threads of the pool only.

A stream that is cancelled leaves its running event to a task that ends it (`Core.finish`). Lock
order: a session's lock, then the pool's counter; no other lock is held across an await.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from clickcut.errors import AuthenticationError, UnavailableError
from clickcut.server.core import Core
from clickcut.server.edge import Call
from clickcut.server.segment import segment
from clickcut.server.stream import SessionStream
from clickcut.server.upload import Uploads
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

NAME: str = pb.DESCRIPTOR.services_by_name["Clickcut"].full_name


class ClickcutService(clickcut_pb2_grpc.ClickcutServicer):
    """Answers the RPCs from the state in `core`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._uploads = Uploads(core)
        self._streams: set[SessionStream] = set()
        core.on_shortage.append(self._end_for_memory)
        core.tokens.on_change.append(self._end_revoked)

    @property
    def streams(self) -> int:
        """Session streams that are open."""
        return len(self._streams)

    def end_streams(self) -> None:
        """End all session streams after their running requests."""
        self._end_all("the server is shutting down; the client should reconnect")

    def _end_for_memory(self) -> None:
        """End all session streams, and with them messages that have arrived in part."""
        self._end_all("the server is short of memory; the client should reconnect in a moment")

    def _end_revoked(self) -> None:
        """End the session streams whose token is no longer valid."""
        for stream in list(self._streams):
            if not self._core.tokens.accepts(stream.credential):
                stream.end(AuthenticationError("the token is no longer valid", reason="token"))

    def _end_all(self, why: str) -> None:
        for stream in list(self._streams):
            stream.end(UnavailableError(why))

    async def Session(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[pb.SessionRequest], context: Call
    ) -> None:
        """See clickcut.proto; requests are read through the context."""
        stream = SessionStream(self._core, context)
        self._streams.add(stream)
        try:
            await stream.run()
        finally:
            self._streams.discard(stream)

    async def UploadImage(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[pb.UploadImageRequest], context: Call
    ) -> pb.UploadImageReply:
        """See clickcut.proto; chunks are read through the context."""
        with self._core.quotas.request(context.peer.owner):
            return await self._uploads.receive(context)

    async def Segment(self, request: pb.SegmentRequest, context: Call) -> pb.SegmentReply:  # type: ignore[override]  # noqa: N802
        """See clickcut.proto."""
        with self._core.quotas.request(context.peer.owner):
            return await segment(self._core, request, context.peer)

    async def ListModels(  # type: ignore[override]  # noqa: N802
        self, request: pb.ListModelsRequest, context: Call
    ) -> pb.ListModelsReply:
        """See clickcut.proto."""
        return pb.ListModelsReply(models=self._core.models.listing())
