"""Begin a session on an image: a new one, or one that is restored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from clickcut.backends import Predictor
from clickcut.images import PreparedImage
from clickcut.parameters import Parameters
from clickcut.server.held_session import HeldSession
from clickcut.server.peers import Peer
from clickcut.session import ClickSession

if TYPE_CHECKING:
    from clickcut.server.core import Core

T = TypeVar("T")


async def begin(
    core: Core,
    image: PreparedImage,
    predictor: Predictor,
    parameters: Parameters,
    peer: Peer,
    show: Callable[[ClickSession], T],
    session_id: str | None = None,
    had_turn: bool = False,
) -> tuple[HeldSession, T, float]:
    """Begin a session and hold it.

    Args:
        core: of the server.
        image: leased by the session.
        predictor: that it uses.
        parameters: that it begins with.
        peer: for whom.
        show: called with the session, in a thread.
        session_id: of a session that is restored; one that was restored meanwhile takes its place.
        had_turn: whether the request has had a turn in the pool; see `ComputePool.run_steps`.

    Returns:
        The session, what `show` returned, and milliseconds of waiting for a worker.

    Raises:
        LimitError: there is no room.
    """
    core.images.lease(image)
    try:
        core.sessions.check_room(peer, image.width * image.height)

        def create() -> tuple[ClickSession, T]:
            session = ClickSession(image, predictor, parameters, core.settings.cut_solver)
            return session, show(session)

        seconds = core.settings.request_seconds
        (session, shown), queue = await core.pool.run(create, peer, seconds, had_turn)
        held = core.sessions.add(session, predictor.metadata, peer, session_id)
    except BaseException:
        core.images.release(image)
        raise
    if held.session is not session:
        core.images.release(image)
    else:
        core.metrics.count_model(predictor.metadata)
    return held, shown, queue
