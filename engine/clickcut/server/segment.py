"""`Segment`: an image and all its clicks -> one mask; only the image is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from clickcut import tracing
from clickcut.errors import EventError, LimitError
from clickcut.server import replies
from clickcut.server.core import Core
from clickcut.server.image_store import Found
from clickcut.server.job import Steps
from clickcut.server.peers import Peer
from clickcut.server.requests import (
    check_output,
    draw_box,
    parameters_of,
    start_from,
    window_of,
)
from clickcut.session import ClickSession
from clickcut.v1 import clickcut_pb2 as pb


async def segment(core: Core, request: pb.SegmentRequest, peer: Peer) -> pb.SegmentReply:
    """Serve one `Segment` request, a step for each click.

    Raises:
        ClickcutError: bad image, clicks, mask or parameters; no room; or not finished in time.
    """
    arrived = time.perf_counter()
    core.check_accepting()
    check_output(request.output)
    _check_clicks(request, core.settings.max_clicks)
    choice = core.models.find(request.model)
    found = await _find_image(core, request, peer)
    predictor = choice.of(found.image.digest)
    parameters = parameters_of(request.parameters, predictor.metadata.parameters)
    core.images.lease(found.image)

    def create() -> ClickSession:
        return ClickSession(found.image, predictor, parameters, core.settings.cut_solver)

    def memory() -> AbstractContextManager[None]:
        return core.computing_on(found.image)

    try:
        left = core.settings.request_seconds - (time.perf_counter() - arrived)
        steps = _steps(create, request, memory)
        reply, queue = await core.pool.run_steps(steps, peer, left, found.had_turn)
    finally:
        core.images.release(found.image)
    reply.image.CopyFrom(replies.image_info(found.image, predictor.metadata))
    reply.timings.decode = found.decode
    reply.timings.queue = found.queue + queue
    reply.timings.total = 1e3 * (time.perf_counter() - arrived)
    core.metrics.count("segment", reply.timings)
    core.metrics.count_model(predictor.metadata)
    return reply


def _check_clicks(request: pb.SegmentRequest, limit: int) -> None:
    if len(request.clicks) > limit:
        raise LimitError(
            f"a Segment request has at most {limit} clicks, got {len(request.clicks)}: use a "
            "session, or start the server with a larger --max-clicks",
            reason="clicks",
        )


async def _find_image(core: Core, request: pb.SegmentRequest, peer: Peer) -> Found:
    source, window = request.WhichOneof("source"), window_of(request)
    if source == "image":
        return await core.images.add(request.image, peer=peer, window=window)
    if source == "image_digest":
        return await core.durability.find_image(request.image_digest, window, peer)
    raise EventError("Segment needs an image or an image_digest")


def _steps(
    create: Callable[[], ClickSession],
    request: pb.SegmentRequest,
    memory: Callable[[], AbstractContextManager[None]],
) -> Steps[pb.SegmentReply]:
    """Apply all clicks in order, as in a session; runs in threads, each step with `memory`."""
    reply = pb.SegmentReply()
    with memory():
        session = create()
        if request.HasField("initial_mask"):
            start_from(session, request.initial_mask)
        if request.HasField("box"):
            replies.add_timings(reply.timings, draw_box(session, request.box))
    yield
    for click in request.clicks:
        with memory():
            step = session.click(click.x, click.y, not click.negative)
        replies.add_timings(reply.timings, step)
        yield
    began = time.perf_counter()
    with tracing.span("encode"):
        rectangle = replies.whole(session.image)
        reply.result.CopyFrom(replies.result(session, request.output, rectangle))
    reply.timings.encode = 1e3 * (time.perf_counter() - began)
    return reply
