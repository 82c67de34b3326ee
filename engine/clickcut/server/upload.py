"""`UploadImage`: chunks -> a held image."""

from __future__ import annotations

import asyncio

import grpc

from clickcut.errors import EventError, ImageError, ImageNotFoundError, StalledError
from clickcut.image_file import Window
from clickcut.server.core import Core
from clickcut.server.edge import Call
from clickcut.server.image_store import Found, check_digest
from clickcut.server.replies import image_info
from clickcut.server.requests import window_of
from clickcut.server.rooms import Room
from clickcut.server.settings import MIB
from clickcut.v1 import clickcut_pb2 as pb

MAX_CHUNK = MIB
"""Maximum size of a chunk, bytes."""

_WHOLE = 10
"""Maximum duration of an upload, as a multiple of its maximum silence."""


class Uploads:
    """Receives images, within a budget for all uploads in progress.

    Args:
        core: of the server.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._room = Room(core.settings.max_uploads, "uploads", keeps_own=True)
        core.on_shortage.append(self._room.clear)

    async def receive(self, context: Call) -> pb.UploadImageReply:
        """Serve one upload.

        Raises:
            ClickcutError: it stalled, is too large, damaged, or not an image.
        """
        self._core.check_accepting()
        request = await self._read(context)
        digest = request.digest if request is not None else ""
        window = window_of(request) if request is not None else None
        if digest:
            check_digest(digest)
            try:
                known = await self._core.durability.find_image(
                    digest, window, context.peer, for_session=True
                )
            except ImageNotFoundError:
                pass
            else:
                return pb.UploadImageReply(image=image_info(known.image), already_known=True)
        seconds = _WHOLE * self._core.settings.upload_seconds
        try:
            async with self._room.place(context.peer, seconds):
                found = await self._receive_rest(request, context, digest, window)
        except TimeoutError:
            raise StalledError(
                f"the upload took more than {seconds:g} s; send a smaller file", reason="upload"
            ) from None
        return pb.UploadImageReply(image=image_info(found.image), already_known=found.known)

    async def _receive_rest(
        self,
        request: pb.UploadImageRequest | None,
        context: Call,
        digest: str,
        window: Window | None,
    ) -> Found:
        data = bytearray()
        try:
            while request is not None:
                self._append(data, request.chunk)
                request = await self._read(context)
            found = await self._core.images.add(data, digest, context.peer, window)
            await self._core.durability.keep_image(context.peer.owner, found.image.digest, data)
            return found
        finally:
            self._core.incoming.give_back(len(data))

    async def _read(self, context: Call) -> pb.UploadImageRequest | None:
        limit = self._core.settings.upload_seconds
        try:
            request = await asyncio.wait_for(context.read(), limit)
        except TimeoutError as error:
            raise StalledError(
                f"the upload sent nothing for {limit:g} s; send it again", reason="upload"
            ) from error
        return None if request is grpc.aio.EOF else request

    def _append(self, data: bytearray, chunk: bytes) -> None:
        if len(chunk) > MAX_CHUNK:
            raise EventError(f"a chunk has at most {MAX_CHUNK} bytes, got {len(chunk)}")
        most = self._core.images.limits.max_bytes
        if len(data) + len(chunk) > most:
            raise ImageError(f"the file has more than {most} bytes, the maximum")
        self._core.incoming.take(len(chunk))
        data += chunk
