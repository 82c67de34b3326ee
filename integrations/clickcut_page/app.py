"""The page's server: static files, the relay, images, exports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from clickcut.errors import AuthenticationError
from clickcut.v1 import clickcut_pb2
from clickcut_page import exports
from clickcut_page.engine import Engine
from clickcut_page.guard import Guard
from clickcut_page.images import Images, Picture
from clickcut_page.relay import Relay
from clickcut_page.repair import RepairList
from clickcut_page.settings import PageSettings

STATIC = Path(str(resources.files("clickcut_page") / "static"))


def build(settings: PageSettings, repair: RepairList | None = None) -> Starlette:
    """The ASGI application; call it inside the event loop that will serve it.

    Args:
        settings: of the server.
        repair: objects to be repaired, where that is what the page is for.
    """
    engine = Engine(settings.engine)
    images = Images(engine, settings.max_image_bytes)

    async def health(request: Request) -> Response:
        try:
            return JSONResponse({"page": True, "engine": await engine.is_serving()})
        except AuthenticationError:
            return JSONResponse({"page": True, "engine": False})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await engine.close()

    routes = [
        WebSocketRoute("/session", Relay(engine, settings.max_connections).serve),
        Route("/contract", contract),
        Route("/health", health),
        Route("/images", images.upload, methods=["POST"]),
        Route("/display", images.display, methods=["POST"]),
        Route("/sample", images.sample),
        Route("/picture", Picture(settings.picture).get),
        Route("/formats", exports.formats),
        Route("/export", exports.export, methods=["POST"]),
        *(repair.routes() if repair else [Route("/repair", nothing_to_repair)]),
        Mount("/", StaticFiles(directory=STATIC, html=True)),
    ]
    return Starlette(
        routes=routes, middleware=[Middleware(Guard, settings=settings)], lifespan=lifespan
    )


async def nothing_to_repair(request: Request) -> Response:
    """GET: an empty list, where the page is not for repairing."""
    return JSONResponse({"out": "", "tasks": []})


async def contract(request: Request) -> Response:
    """GET: the wire contract as a FileDescriptorSet, so that the page speaks this engine's."""
    files = FileDescriptorSet()
    clickcut_pb2.DESCRIPTOR.CopyToProto(files.file.add())
    return Response(files.SerializeToString(), media_type="application/x-protobuf")
