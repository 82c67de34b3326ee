"""A WebSocket <-> a `Session` stream, frame by message, both ways at once.

The relay looks into nothing and keeps nothing. A reply is never held back; requests beyond
`MAX_WAITING` unanswered ones wait in the browser. How the engine's stream ended is said in a last
text frame: JSON with `error` (the class in clickcut.errors), `code` (gRPC) and `message`.
"""

from __future__ import annotations

import asyncio
import json

import grpc
from google.protobuf.message import DecodeError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from clickcut.errors import ClickcutError, EventError, LimitError
from clickcut.grpc_status import number_of
from clickcut.v1 import clickcut_pb2 as pb
from clickcut_page.engine import Engine, error_of
from clickcut_page.settings import MAX_FRAME_BYTES

MAX_WAITING = 16
"""Unanswered requests of one connection."""


class Relay:
    """Serves session WebSockets.

    Args:
        engine: where the streams go.
        max_connections: at once; a further one is refused.
    """

    def __init__(self, engine: Engine, max_connections: int) -> None:
        self._engine = engine
        self._max_connections = max_connections
        self._open = 0

    async def serve(self, socket: WebSocket) -> None:
        """Serve one WebSocket until either side ends."""
        await socket.accept()
        if self._open >= self._max_connections:
            await _end(socket, LimitError(f"{self._open} pages are open already; close one"))
            return
        self._open += 1
        call = self._engine.session()
        try:
            await _end(socket, await self._run(socket, call))
        finally:
            self._open -= 1
            call.cancel()

    async def _run(self, socket: WebSocket, call: object) -> ClickcutError | None:
        """Pass messages on; the error that ended it, None when the engine ended it in order."""
        room = asyncio.Semaphore(MAX_WAITING)
        up = asyncio.create_task(self._up(socket, call, room))
        down = asyncio.create_task(self._down(socket, call, room))
        try:
            done, _ = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            if up in done and not isinstance(up.exception(), grpc.aio.UsageError):
                return up.result()
            return await down  # the stream has ended: its status says why
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _up(
        self, socket: WebSocket, call: object, room: asyncio.Semaphore
    ) -> ClickcutError | None:
        while True:
            await room.acquire()
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return None
            data = message.get("bytes")
            if data is None:
                return EventError("a frame must be binary: an encoded SessionRequest")
            if len(data) > MAX_FRAME_BYTES:
                return LimitError(f"a frame has at most {MAX_FRAME_BYTES:,} bytes")
            try:
                pb.SessionRequest.FromString(data)
            except DecodeError:
                return EventError("a frame is not an encoded SessionRequest")
            try:
                await call.write(data)  # type: ignore[attr-defined]
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                raise grpc.aio.UsageError(str(error)) from error

    async def _down(
        self, socket: WebSocket, call: object, room: asyncio.Semaphore
    ) -> ClickcutError | None:
        try:
            while (reply := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                await socket.send_bytes(reply)
                room.release()
            code = await call.code()  # type: ignore[attr-defined]
            if code is grpc.StatusCode.OK:
                return None
            details = await call.details()  # type: ignore[attr-defined]
            trailing = await call.trailing_metadata()  # type: ignore[attr-defined]
            return error_of(
                grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details),
                self._engine.address,
            )
        except grpc.aio.AioRpcError as error:
            return error_of(error, self._engine.address)
        except (WebSocketDisconnect, RuntimeError):  # the browser has gone
            return None


async def _end(socket: WebSocket, error: ClickcutError | None) -> None:
    """Say how it ended, and close."""
    if socket.client_state is not WebSocketState.CONNECTED:
        return
    try:
        if error is not None:
            await socket.send_text(json.dumps(error_document(error)))
        await socket.close(1000 if error is None else 1011)
    except (WebSocketDisconnect, RuntimeError):
        pass  # gone meanwhile


def error_document(error: ClickcutError) -> dict[str, object]:
    """An error as JSON."""
    return {"error": type(error).__name__, "code": number_of(error), "message": str(error)}
