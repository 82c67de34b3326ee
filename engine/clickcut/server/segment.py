"""`Segment`: an image and all its clicks -> one mask; nothing is kept but the image."""

from __future__ import annotations

import asyncio
import threading
import time

from clickcut.errors import EventError, UnavailableError
from clickcut.server import replies
from clickcut.server.core import Core
from clickcut.server.images import Found
from clickcut.server.requests import check_output, draw_box, parameters_of, start_from
from clickcut.session import ClickSession
from clickcut.v1 import clickcut_pb2 as pb


async def segment(core: Core, request: pb.SegmentRequest) -> pb.SegmentReply:
    """Serve one `Segment` request.

    Raises:
        ClickcutError: bad image, clicks, mask or parameters; or no room.
    """
    arrived = time.perf_counter()
    core.check_accepting()
    check_output(request.output)
    choice = core.models.find(request.model)
    found = await _find_image(core, request)
    predictor = choice.of(found.image.digest)
    parameters = parameters_of(request.parameters, predictor.metadata.parameters)
    core.images.lease(found.image)
    gone = threading.Event()

    def work() -> pb.SegmentReply:
        session = ClickSession(found.image, predictor, parameters, core.settings.cut_solver)
        return _segment(session, request, gone)

    try:
        reply, queue = await core.pool.run(work)
    except asyncio.CancelledError:
        gone.set()
        raise
    finally:
        core.images.release(found.image)
    reply.image.CopyFrom(replies.image_info(found.image, predictor.metadata))
    reply.timings.decode = found.decode
    reply.timings.queue = found.queue + queue
    reply.timings.total = 1e3 * (time.perf_counter() - arrived)
    core.metrics.count("segment", reply.timings)
    core.metrics.count_model(predictor.metadata)
    return reply


async def _find_image(core: Core, request: pb.SegmentRequest) -> Found:
    source = request.WhichOneof("source")
    if source == "image":
        return await core.images.add(request.image)
    if source == "image_digest":
        return Found(core.images.find(request.image_digest), True)
    raise EventError("Segment needs an image or an image_digest")


def _segment(
    session: ClickSession, request: pb.SegmentRequest, gone: threading.Event
) -> pb.SegmentReply:
    """In a thread: all clicks in order, as in a session."""
    reply = pb.SegmentReply()
    if request.HasField("initial_mask"):
        start_from(session, request.initial_mask)
    if request.HasField("box"):
        replies.add_timings(reply.timings, draw_box(session, request.box))
    for click in request.clicks:
        if gone.is_set():
            raise UnavailableError("the client has gone")
        step = session.click(click.x, click.y, not click.negative)
        replies.add_timings(reply.timings, step)
    began = time.perf_counter()
    rectangle = replies.whole(session.image)
    reply.result.CopyFrom(replies.result(session, request.output, rectangle))
    reply.timings.encode = 1e3 * (time.perf_counter() - began)
    return reply
