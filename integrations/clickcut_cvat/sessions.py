"""From requests without a session to sessions on the engine.

Each request has the image and all clicks. Of the sessions on that image, the one that is fewest
events away is brought to these clicks: a list that extends the last one costs one click, a removed
point one removal, anything else a new session. The engine has the image by then, so it is not sent
again.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clickcut.client import Client, Session
from clickcut.errors import ClickcutError
from clickcut_cvat.prompts import Click, Prompts

Mask = NDArray[np.bool_]

MAX_SESSIONS = 16
"""Default of how many sessions are kept; the engine needs about 4 MiB for each."""


@dataclass(slots=True)
class _Kept:
    """A session that is kept.

    Attributes:
        session: on the engine.
        clicks: in force, in the order made, as indexed by the session.
    """

    session: Session
    clicks: list[Click] = field(default_factory=list)

    def distance(self, clicks: list[Click]) -> int:
        """Number of events that lead to these clicks."""
        wanted, present = Counter(clicks), Counter(self.clicks)
        return (wanted - present).total() + (present - wanted).total()

    def bring_to(self, clicks: list[Click]) -> Mask:
        """Remove and add clicks until these are in force, in any order; return the mask.

        Raises:
            ClickcutError: of the session, which is then somewhere between.
        """
        missing = Counter(clicks)
        surplus = []
        for index, click in enumerate(self.clicks):
            if missing[click]:
                missing[click] -= 1
            else:
                surplus.append(index)
        for index in reversed(surplus):  # so that the other indices stay
            self.session.remove_click(index)
            del self.clicks[index]
        for click in clicks:
            if missing[click]:
                missing[click] -= 1
                self.session.click(*click)
                self.clicks.append(click)
        return self.session.mask


class Interactor:
    """Answers requests of CVAT. Threads may share it; requests are answered one after another.

    Args:
        client: connection to the engine.
        max_sessions: sessions kept; the least recently used one is closed.
    """

    def __init__(self, client: Client, max_sessions: int = MAX_SESSIONS) -> None:
        self._client = client
        self._max_sessions = max_sessions
        self._lock = threading.Lock()
        self._kept: list[_Kept] = []
        """The most recently used one is last."""

    def mask(self, image: bytes, prompts: Prompts) -> Mask:
        """Return the mask for an image and all its clicks, (H, W) bool, read-only.

        Args:
            image: an encoded file.
            prompts: all clicks.

        Raises:
            EventError: a point is outside the image.
            ImageError: the image cannot be used.
            ClickcutError: the engine refuses, or cannot be reached.
        """
        with self._lock:
            kept = self._nearest(image, prompts)
            clicks = prompts.clicks(kept.session.width, kept.session.height)
            # Until it is known to be in order again. One that is not is closed when it is
            # garbage-collected: waiting for an engine that is gone would hold up the answer.
            self._kept.remove(kept)
            mask = kept.bring_to(clicks)
            self._kept.append(kept)
            return mask

    def _nearest(self, image: bytes, prompts: Prompts) -> _Kept:
        """Return the session that is nearest to these clicks, a new one if none is near."""
        digest = hashlib.sha256(image).hexdigest()
        same = [kept for kept in self._kept if kept.session.digest == digest]
        if same:
            size = same[0].session.width, same[0].session.height
            clicks = prompts.clicks(*size)
            best = min(same, key=lambda kept: kept.distance(clicks))
            if not best.clicks or best.distance(clicks) < len(clicks):
                return best
        new = _Kept(self._client.open(image))
        self._kept.append(new)
        self._evict()
        return new

    def _evict(self) -> None:
        while len(self._kept) > self._max_sessions:
            _close(self._kept.pop(0))

    def close(self) -> None:
        """Close all sessions; the client stays open."""
        with self._lock:
            while self._kept:
                _close(self._kept.pop())


def _close(kept: _Kept) -> None:
    with contextlib.suppress(ClickcutError):  # the engine evicts what cannot be closed
        kept.session.close()
