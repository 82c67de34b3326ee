"""Decoded images by digest: shared by sessions, bounded in bytes, least recently used goes first.

Used from the event loop only; decoding runs in the compute pool.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from contextlib import AbstractContextManager
from dataclasses import dataclass

from clickcut.errors import EventError, ImageError, ImageNotFoundError, LimitError
from clickcut.image_file.parts import Parts
from clickcut.image_file.process import Cancellation, Decoder
from clickcut.images import ImageLimits, PreparedImage, digest_of
from clickcut.server.memory import Allowance
from clickcut.server.peers import LOCAL, Peer
from clickcut.server.pool import ComputePool
from clickcut.server.settings import MIB

_DECODING_BYTES = 12
"""Per pixel, at the peak: a decoder's own pixels, those of a conversion, and transparency."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True, eq=False)
class _Coming:
    """An image that is being decoded, and how many requests wait for it."""

    task: asyncio.Task[Found]
    cancellation: Cancellation
    waiting: int = 0


@dataclass(slots=True)
class _Held:
    image: PreparedImage
    users: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """An image, and what it took to get it.

    Attributes:
        image: shared; lease it before anything is awaited.
        known: whether it was held already.
        queue: milliseconds of waiting for a worker.
        decode: milliseconds of decoding and preparing; 0 when known.
    """

    image: PreparedImage
    known: bool
    queue: float = 0.0
    decode: float = 0.0


class ImageStore:
    """Holds images while they are in use, and afterwards as long as there is room.

    Args:
        budget: bytes for all images together.
        limits: of one image.
        pool: where to decode.
        decoder: what decodes; closed by whoever made it.
        decoding: memory for what decoders need beside that.
    """

    def __init__(
        self,
        budget: int,
        limits: ImageLimits,
        pool: ComputePool,
        decoder: Decoder | None = None,
        decoding: Allowance | None = None,
    ) -> None:
        self.limits = limits
        self._budget = budget
        self._pool = pool
        self._decoder = decoder or Decoder()
        self._decoding = decoding or Allowance(budget, "decoding")
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._coming: dict[str, _Coming] = {}

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes of all images held."""
        return sum(held.image.nbytes for held in list(self._held.values()))

    def find(self, digest: str) -> PreparedImage:
        """The image with this digest.

        Raises:
            EventError: not a digest.
            ImageNotFoundError: not held.
        """
        check_digest(digest)
        held = self._held.get(digest)
        if held is None:
            raise ImageNotFoundError(f"no image with digest {digest} is held: send the image")
        self._held.move_to_end(digest)
        return held.image

    async def add(self, data: bytes | bytearray, expected: str = "", peer: Peer = LOCAL) -> Found:
        """Decode and hold an image file, unless it is held already.

        Args:
            data: the encoded file.
            expected: its digest as the sender knows it, or "".
            peer: who sent it.

        Raises:
            ImageError: see `clickcut.images.decode`; or another digest than expected.
            LimitError: no room for it, or too much work waits.
        """

        def hash_it() -> tuple[bytes, str]:
            whole = bytes(data)
            return whole, digest_of(whole)

        (whole, digest), queue = await self._pool.run(hash_it, peer)
        if expected and digest != expected:
            raise ImageError(
                f"the data received has digest {digest}, not {expected}: it was damaged on its way"
            )
        if digest in self._held:
            return Found(self.find(digest), True, queue)
        coming = self._coming.get(digest)
        if coming is None:  # two clients that send the same image decode it once
            self._check_in_use(0)
            cancellation = Cancellation()
            task = asyncio.create_task(self._decode(whole, digest, peer, cancellation))
            coming = self._coming[digest] = _Coming(task, cancellation)
            task.add_done_callback(lambda task: self._came(digest, task))
        found = await self._wait_for(digest, coming)
        return Found(found.image, found.known, queue + found.queue, found.decode)

    async def _wait_for(self, digest: str, coming: _Coming) -> Found:
        """Wait for an image; when everybody who waited has gone, it is not decoded any further."""
        coming.waiting += 1
        try:
            return await asyncio.shield(coming.task)
        finally:
            coming.waiting -= 1
            if not coming.waiting and not coming.task.done():
                if self._coming.get(digest) is coming:
                    del self._coming[digest]  # who asks from now on gets it decoded again
                coming.task.cancel()
                coming.cancellation.cancel()

    def lease(self, image: PreparedImage) -> None:
        """Keep an image until `release`."""
        held = self._held.setdefault(image.digest, _Held(image))
        held.users += 1

    def release(self, image: PreparedImage) -> None:
        """Give back a lease; the image stays while there is room."""
        self._held[image.digest].users -= 1
        self.trim()

    def trim(self, wanted: int = 0) -> None:
        """Let go images not in use until `wanted` more bytes fit; images grow while clicked on."""
        for digest in [d for d, held in self._held.items() if not held.users]:
            if self.nbytes + wanted <= self._budget:
                return
            del self._held[digest]

    async def _decode(
        self, data: bytes, digest: str, peer: Peer, cancellation: Cancellation
    ) -> Found:
        def work() -> tuple[PreparedImage, float]:
            began = time.perf_counter()
            pixels = self._decoder.decode(data, self.limits, cancellation, self._admit)
            image = PreparedImage(pixels, digest)
            return image, 1e3 * (time.perf_counter() - began)

        (image, spent), queue = await self._pool.run(work, peer)
        self._check_in_use(image.nbytes)
        self.trim(image.nbytes)
        self._held[digest] = _Held(image)
        return Found(image, False, queue, spent)

    def _admit(self, image: Parts) -> AbstractContextManager[None]:
        """In a thread: the memory for decoding an examined file."""
        height, width, _ = image.shape
        return self._decoding.taking(_DECODING_BYTES * height * width)

    def check_growth(self) -> None:
        """Make sure that images, which grow while clicked on, may grow.

        Raises:
            LimitError: those in use fill their memory.
        """
        if self.nbytes > self._budget:
            self.trim()
            self._check_in_use(0)

    def _came(self, digest: str, task: asyncio.Task[Found]) -> None:
        coming = self._coming.get(digest)
        if coming is not None and coming.task is task:
            del self._coming[digest]
        if not task.cancelled():
            task.exception()  # seen, also when every client that waited for it has gone

    def _check_in_use(self, wanted: int) -> None:
        used = sum(held.image.nbytes for held in self._held.values() if held.users)
        if used + wanted > self._budget or used >= self._budget:
            raise LimitError(
                f"images in use fill the memory for images ({used // MIB} of "
                f"{self._budget // MIB} MiB): close sessions, or start the server with a larger "
                "--image-memory-mib",
                reason="image memory",
            )


def check_digest(digest: str) -> None:
    """Check the form of a digest.

    Raises:
        EventError: not 64 lower-case hex digits.
    """
    if not _DIGEST.fullmatch(digest):
        raise EventError(f"a digest is 64 lower-case hex digits, got {digest[:80]!r}")
