"""The endpoints of a machine learning backend, as Label Studio 1.x calls them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from clickcut.errors import ClickcutError, ImageError, LimitError, StalledError, UnavailableError
from clickcut_label_studio.backend import Backend
from clickcut_label_studio.errors import LabelStudioError, SlowError, TaskError
from clickcut_label_studio.reason import REASON_HEADER, reason_of
from clickcut_label_studio.settings import MIB, BackendSettings
from clickcut_page.images import limited

MAX_BODY_BYTES = 64 * MIB
"""Label Studio sends the annotations of the task along, with their brush masks."""


def build(backend: Backend, settings: BackendSettings) -> Starlette:
    """The ASGI application.

    Args:
        backend: that answers.
        settings: user and password.
    """

    async def health(_: Request) -> Response:
        if backend.fault:
            return refusal(UnavailableError(backend.fault))
        return JSONResponse({"status": "UP", "model_class": "clickcut"})

    async def setup(request: Request) -> Response:
        return JSONResponse(backend.setup(await _document(request)))

    async def predict(request: Request) -> Response:
        answer = await backend.predict(await _document(request))
        body = await asyncio.to_thread(json.dumps, answer)
        return Response(body, media_type="application/json")

    async def versions(_: Request) -> Response:
        return JSONResponse({"versions": [backend.version]})

    async def webhook(_: Request) -> Response:
        return JSONResponse({}, 201)  # of annotations and training: there is nothing to do

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await backend.close()

    return Starlette(
        routes=[
            Route("/", health),
            Route("/health", health),
            Route("/setup", setup, methods=["POST"]),
            Route("/predict", predict, methods=["POST"]),
            Route("/versions", versions),
            Route("/webhook", webhook, methods=["POST"]),
        ],
        middleware=[Middleware(BasicAuth, user=settings.user, password=settings.password)],
        exception_handlers={ClickcutError: _refuse, ClientDisconnect: _gone},
        lifespan=lifespan,
    )


async def _document(request: Request) -> dict[str, Any]:
    """The body of a request.

    Raises:
        TaskError: it is no JSON object, or not sent as one: a web page could send text.
        LimitError: it is too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise TaskError("the request is not of type application/json")
    try:
        body = b"".join([part async for part in limited(request, MAX_BODY_BYTES)])
    except ImageError as error:
        raise LimitError(f"the request has more than {MAX_BODY_BYTES:,} bytes") from error
    try:
        document = await asyncio.to_thread(json.loads, body)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"the request is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise TaskError("the request is not a JSON object")
    return document


# ---- errors


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, ClickcutError)
    print(f"refused   {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return refusal(error)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=400)


def refusal(error: ClickcutError) -> Response:
    """An error as an answer; the message is the reason phrase as well, which Label Studio shows."""
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 422)
    document = {"error": type(error).__name__, "message": " ".join(str(error).split())}
    return JSONResponse(document, status, headers={REASON_HEADER: reason_of(str(error))})


_STATUS: tuple[tuple[type[ClickcutError], int], ...] = (
    (SlowError, 504),
    (StalledError, 504),
    (LabelStudioError, 502),
    (UnavailableError, 503),
    (LimitError, 503),
)


# ---- who may ask


class BasicAuth:
    """ASGI middleware that asks for a user and a password where they are set.

    Args:
        app: what is guarded.
        user: "" for none.
        password: that goes with it.
    """

    def __init__(self, app: ASGIApp, user: str, password: str) -> None:
        self._app = app
        self._wanted = f"{user}:{password}".encode() if user else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] != "http" or not self._wanted or self._knows(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        text = "user or password are wrong or missing"
        headers = {"www-authenticate": 'Basic realm="clickcut"', REASON_HEADER: reason_of(text)}
        document = {"error": "Unauthorized", "message": text}
        await JSONResponse(document, 401, headers=headers)(scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        try:
            found = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(found, self._wanted)
