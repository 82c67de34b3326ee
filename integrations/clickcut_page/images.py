"""Images over HTTP: to the engine, and back as pixels that every browser can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import cv2
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response

from clickcut.errors import ClickcutError, ImageError, UnavailableError
from clickcut.image_file import ImageLimits, decode
from clickcut_page.engine import Engine
from clickcut_page.relay import error_document

SAMPLE = "astronaut.jpg"

NAME_HEADER = "x-clickcut-name"
"""Name of the picture, percent-encoded."""

MAX_DECODING = 2
"""Images decoded at once; one may take hundreds of megabytes."""


class Images:
    """Endpoints for images.

    Args:
        engine: where uploads go.
        max_bytes: of a file.
    """

    def __init__(self, engine: Engine, max_bytes: int) -> None:
        self._engine = engine
        self._max_bytes = max_bytes
        self._decoding = asyncio.Semaphore(MAX_DECODING)

    async def upload(self, request: Request) -> Response:
        """POST: a file to the engine; answers with digest and size."""
        try:
            info = await self._engine.upload(limited(request, self._max_bytes))
        except ClickcutError as error:
            return refusal(error)
        except ClientDisconnect:
            return Response(status_code=400)
        size = {"width": info.width, "height": info.height}
        return JSONResponse({"digest": info.digest, **size})

    async def display(self, request: Request) -> Response:
        """POST: a file that the browser cannot decode, such as a TIFF; answers with a PNG."""
        try:
            data = b"".join([part async for part in limited(request, self._max_bytes)])
            async with self._decoding:
                png = await asyncio.to_thread(_as_png, data, self._max_bytes)
        except ClickcutError as error:
            return refusal(error)
        except ClientDisconnect:
            return Response(status_code=400)
        return Response(png, media_type="image/png")

    async def sample(self, request: Request) -> Response:
        """GET: the packaged photograph."""
        data = (resources.files("clickcut") / "assets" / SAMPLE).read_bytes()
        return Response(data, media_type="image/jpeg")


class Picture:
    """The picture that the page opens first.

    Args:
        path: of the file; None for nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    async def get(self, request: Request) -> Response:
        """GET: the file, with its name in a header; 204 where there is none."""
        if self._path is None:
            return Response(status_code=204)
        return FileResponse(self._path, headers={NAME_HEADER: quote(self._path.name)})


def _as_png(data: bytes, max_bytes: int) -> bytes:
    pixels = decode(data, ImageLimits(max_bytes=max_bytes))
    fast = (cv2.IMWRITE_PNG_COMPRESSION, 1)
    encoded: bytes = cv2.imencode(".png", pixels[:, :, ::-1], fast)[1].tobytes()
    return encoded


async def limited(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The body of a request, part by part.

    Raises:
        ImageError: it is larger than `max_bytes`.
    """
    received = 0
    async for part in request.stream():
        received += len(part)
        if received > max_bytes:
            raise ImageError(f"the file has more than {max_bytes:,} bytes; scale it down")
        yield part


def refusal(error: ClickcutError) -> Response:
    """An error as an answer."""
    return JSONResponse(error_document(error), 503 if isinstance(error, UnavailableError) else 400)
