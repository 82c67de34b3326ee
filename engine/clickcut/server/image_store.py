"""Decoded images by digest, shared by sessions; see `clickcut.server.held_images`.

Used from the event loop only; decoding runs in the compute pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from clickcut import tracing
from clickcut.errors import ClickcutError, EventError, ImageError, ImageNotFoundError
from clickcut.image_file.cancellation import Cancellation
from clickcut.image_file.parts import Parts
from clickcut.image_file.process import Decoder
from clickcut.images import ImageLimits, PreparedImage, Window, digest_of
from clickcut.server.held_images import HeldImages, image_key, owner_of
from clickcut.server.memory import Allowance
from clickcut.server.peers import LOCAL, Peer
from clickcut.server.pool import ComputePool
from clickcut.server.quotas import Quotas, unlimited

_DIGEST = re.compile(r"[0-9a-f]{64}")

COMPLETE_AFTER = 0.25
"""Seconds after which an image that was decoded reduced is decoded in full, in the background: a
first click that comes at once goes first, one that a person makes finds the full picture."""


@dataclass(slots=True, eq=False)
class _Coming:
    """An image that is being decoded, and how many requests wait for it."""

    task: asyncio.Task[Found]
    cancellation: Cancellation
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """An image, and the time to get it.

    Attributes:
        image: shared; lease it before anything is awaited.
        known: whether it was in the store.
        queue: milliseconds of waiting for a worker.
        decode: milliseconds of decoding and preparing; 0 when known.
        had_turn: whether the request has had a turn in the pool for it.
    """

    image: PreparedImage
    known: bool
    queue: float = 0.0
    decode: float = 0.0
    had_turn: bool = False


class ImageStore(HeldImages):
    """Decodes images and holds them.

    Args:
        budget: bytes for all images together.
        limits: of one image.
        pool: where to decode.
        decoder: closed by its owner.
        decoding: extra memory for decoders.
        quotas: of tokens; None without.
        complete_after: see `COMPLETE_AFTER`.
    """

    def __init__(
        self,
        budget: int,
        limits: ImageLimits,
        pool: ComputePool,
        decoder: Decoder | None = None,
        decoding: Allowance | None = None,
        quotas: Quotas | None = None,
        complete_after: float = COMPLETE_AFTER,
    ) -> None:
        self._complete_after = complete_after
        self._completing: set[asyncio.Task[None]] = set()
        self._quotas = quotas or Quotas(unlimited)
        super().__init__(budget, self._quotas.limits_of)
        self.limits = limits
        self._pool = pool
        self._decoder = decoder or Decoder()
        self._decoding = decoding or Allowance(budget, "decoding")
        self._coming: dict[str, _Coming] = {}

    def find(self, digest: str, window: Window | None = None, owner: str = "") -> PreparedImage:
        """Return the image with this digest, decoded with the requested window.

        Args:
            digest: of the file.
            window: that was requested.
            owner: token of the client; what other tokens have sent is not there for it.

        Raises:
            EventError: not a digest.
            ImageNotFoundError: not held.
        """
        check_digest(digest)
        key = image_key(digest, window, owner)
        held = self._held.get(key)
        if held is None:
            seen = " as seen through this window" if window else ""
            raise ImageNotFoundError(f"no image with digest {digest} is held{seen}: send the image")
        self._held.move_to_end(key)
        return held.image

    async def add(
        self,
        data: bytes | bytearray,
        expected: str = "",
        peer: Peer = LOCAL,
        window: Window | None = None,
    ) -> Found:
        """Decode an image file and store it, unless it is in the store.

        Args:
            data: the encoded file.
            expected: its digest as the sender knows it, or "".
            peer: who sent it.
            window: which sample values become 0 and 255; see `clickcut.images.decode`.

        Raises:
            ImageError: see `clickcut.images.decode`; or another digest than expected.
            BusyError: no room for it, or too much work waits.
        """

        def hash_it() -> tuple[bytes, str]:
            whole = bytes(data)
            return whole, digest_of(whole)

        (whole, digest), queue = await self._pool.run(hash_it, peer)
        if expected and digest != expected:
            raise ImageError(
                f"the data received has digest {digest}, not {expected}: it was damaged in transit"
            )
        key = image_key(digest, window, peer.owner)
        if key in self._held:
            return Found(self.find(digest, window, peer.owner), True, queue, had_turn=True)
        coming = self._coming.get(key)
        if coming is None:  # the same image from two clients is decoded once
            self._check_count(
                peer.owner, sum(owner_of(known) == peer.owner for known in self._coming)
            )
            self._check_in_use(0)
            cancellation = Cancellation()
            work = self._work(whole, digest, window, cancellation, peer.owner)
            task = asyncio.create_task(self._decode(work, peer))
            coming = self._coming[key] = _Coming(task, cancellation)
            task.add_done_callback(lambda task: self._came(key, task))
        found = await self._wait_for(key, coming)
        return dataclasses.replace(found, queue=queue + found.queue)

    async def _wait_for(self, key: str, coming: _Coming) -> Found:
        """Wait for an image; cancel its decoding when no request waits for it."""
        coming.waiting += 1
        try:
            return await asyncio.shield(coming.task)
        finally:
            coming.waiting -= 1
            if not coming.waiting and not coming.task.done():
                if self._coming.get(key) is coming:
                    del self._coming[key]  # later requests decode it again
                coming.task.cancel()
                coming.cancellation.cancel()

    def _work(
        self,
        data: bytes,
        digest: str,
        window: Window | None,
        cancellation: Cancellation,
        owner: str,
    ) -> Callable[[], tuple[PreparedImage, float]]:
        """Decoding, to be done in a thread: the image, and the milliseconds that it took."""

        def admit(image: Parts) -> AbstractContextManager[None]:
            self._quotas.take_pixels(owner, image.width * image.height)
            return admit_full(image)

        def admit_full(image: Parts) -> AbstractContextManager[None]:
            return self._decoding.taking(image.decode_bytes)

        def work() -> tuple[PreparedImage, float]:
            began = time.perf_counter()
            with tracing.span("decode", {"clickcut.file_bytes": len(data)}):
                opened = self._decoder.decode(
                    data, self.limits, cancellation, window, admit, admit_full
                )
                key = image_key(digest, window, owner)
                image = PreparedImage(opened.scales, digest, opened.window, key)
            return image, 1e3 * (time.perf_counter() - began)

        return work

    async def _decode(self, work: Callable[[], tuple[PreparedImage, float]], peer: Peer) -> Found:
        (image, spent), queue = await self._pool.run(work, peer, continues=True)
        self._check_in_use(image.nbytes)
        self.trim(image.nbytes)
        held = self._hold(image).image
        if not held.scales.is_complete:
            task = asyncio.create_task(self._complete(held.key, peer))
            self._completing.add(task)
            task.add_done_callback(self._completed)
        return Found(held, False, queue, spent, had_turn=True)

    async def _complete(self, key: str, peer: Peer) -> None:
        """Decode an image in full in a while, unless it has been let go of or needed before."""
        await asyncio.sleep(self._complete_after)
        held = self._held.get(key)
        if held is None or held.image.scales.is_complete:
            return
        image = held.image
        with contextlib.suppress(ClickcutError):  # no room now: decoded when it is needed
            await self._pool.run(lambda: image.pixels, peer)
        self.measure(image)

    def _completed(self, task: asyncio.Task[None]) -> None:
        self._completing.discard(task)
        if not task.cancelled():
            task.exception()  # mark as retrieved: the pool may be closed

    def _came(self, key: str, task: asyncio.Task[Found]) -> None:
        coming = self._coming.get(key)
        if coming is not None and coming.task is task:
            del self._coming[key]
        if not task.cancelled():
            task.exception()  # mark as retrieved, even if all clients are gone


def check_digest(digest: str) -> None:
    """Check the form of a digest.

    Raises:
        EventError: not 64 lower-case hex digits.
    """
    if not _DIGEST.fullmatch(digest):
        raise EventError(f"a digest is 64 lower-case hex digits, got {digest[:80]!r}")
