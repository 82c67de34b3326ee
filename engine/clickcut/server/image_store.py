"""Decoded images by digest: shared by sessions, bounded in bytes, least recently used first out.

Used from the event loop only; decoding runs in the compute pool.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from clickcut import tracing
from clickcut.errors import (
    BusyError,
    EventError,
    ImageError,
    ImageNotFoundError,
    LimitError,
)
from clickcut.image_file.cancellation import Cancellation
from clickcut.image_file.parts import Parts
from clickcut.image_file.process import Decoder
from clickcut.images import ImageLimits, PreparedImage, Window, digest_of, key_of
from clickcut.server.memory import Allowance
from clickcut.server.peers import LOCAL, Peer
from clickcut.server.pool import ComputePool
from clickcut.server.quotas import Quotas, unlimited
from clickcut.server.settings import MIB

_DIGEST = re.compile(r"[0-9a-f]{64}")

_CUT_BYTES, _CUT_PIXELS = 22, 1_000_000
"""Bytes per pixel for edge weights where the cut was computed, and pixels where it was after a few
clicks: everywhere in a small image, around the object in a large one. Measured; see
benchmarks/results/memory.md."""


@dataclass(slots=True, eq=False)
class _Coming:
    """An image that is being decoded, and how many requests wait for it."""

    task: asyncio.Task[Found]
    cancellation: Cancellation
    waiting: int = 0


@dataclass(slots=True)
class _Held:
    """An image in the store.

    Attributes:
        image: shared.
        users: its leases.
        nbytes: its size when it was counted last.
        needed: what it then took of the budget for images in use; 0 without users.
    """

    image: PreparedImage
    users: int = 0
    nbytes: int = 0
    needed: int = 0


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


class ImageStore:
    """Holds images while they are in use, and afterwards while there is room.

    Args:
        budget: bytes for all images together.
        limits: of one image.
        pool: where to decode.
        decoder: closed by its owner.
        decoding: extra memory for decoders.
        quotas: of tokens; None without.

    Attributes:
        make_room: called when images in use fill the budget; evicts a user of one, or returns
            False.
    """

    def __init__(
        self,
        budget: int,
        limits: ImageLimits,
        pool: ComputePool,
        decoder: Decoder | None = None,
        decoding: Allowance | None = None,
        quotas: Quotas | None = None,
    ) -> None:
        self.limits = limits
        self._budget = budget
        self._pool = pool
        self._decoder = decoder or Decoder()
        self._decoding = decoding or Allowance(budget, "decoding")
        self._quotas = quotas or Quotas(unlimited)
        self.make_room: Callable[[], bool] = lambda: False
        self._held: OrderedDict[str, _Held] = OrderedDict()
        # Sums over all images held: counting them for each event would take longer the more
        # there are.
        self._nbytes = self._in_use = 0
        self._coming: dict[str, _Coming] = {}

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes of all images held, each as it was counted last; see `measure`."""
        return self._nbytes

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
        key = _key(digest, window, owner)
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
        key = _key(digest, window, peer.owner)
        if key in self._held:
            return Found(self.find(digest, window, peer.owner), True, queue, had_turn=True)
        coming = self._coming.get(key)
        if coming is None:  # the same image from two clients is decoded once
            self._check_count(peer.owner)
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

    def lease(self, image: PreparedImage) -> None:
        """Keep an image until `release`, and reserve what it will grow to while clicked on.

        Raises:
            BusyError: images in use leave no room for that.
        """
        held = self._hold(image)
        held.users += 1
        self._count(held)
        while held.users == 1 and self._in_use > self._budget:
            if not self.make_room():
                held.users = 0
                self._count(held)
                raise self._full()
        self.trim(held.needed - held.nbytes)

    def release(self, image: PreparedImage) -> None:
        """Give back a lease; the image stays while there is room."""
        held = self._held[image.key]
        held.users -= 1
        self._count(held)
        self.trim()

    def measure(self, image: PreparedImage) -> None:
        """Count what an image has grown to, after an event on it."""
        held = self._held.get(image.key)
        if held is not None:
            self._count(held)

    def trim(self, wanted: int = 0) -> None:
        """Let go images not in use until `wanted` more bytes fit.

        Those of the token that has the most bytes go first, and of these the one that was used
        longest ago.
        """
        excess = self._nbytes + wanted - self._budget
        if excess <= 0:
            return
        nbytes: Counter[str] = Counter()
        unused: defaultdict[str, deque[str]] = defaultdict(deque)
        for key, held in self._held.items():
            nbytes[_owner_of(key)] += held.nbytes
            if not held.users:
                unused[_owner_of(key)].append(key)
        while excess > 0 and unused:
            owner = max(unused, key=nbytes.__getitem__)
            freed = self._let_go(unused[owner].popleft())
            excess -= freed
            nbytes[owner] -= freed
            if not unused[owner]:
                del unused[owner]

    def _check_count(self, owner: str) -> None:
        """Make sure that a token may have one more image; let go one that it does not use.

        Raises:
            LimitError: all that it may have are in use.
        """
        limit = self._quotas.limits_of(owner).images
        if limit is None:
            return
        own = [key for key in self._held if _owner_of(key) == owner]
        count = len(own) + sum(_owner_of(key) == owner for key in self._coming)
        unused = [key for key in own if not self._held[key].users]
        if count - len(unused) >= limit:
            raise LimitError(
                f"your token has {limit} images in use, as many as it may: close sessions, or have "
                "its limit `images` raised",
                reason="images of a token",
            )
        for key in unused[: max(0, count + 1 - limit)]:
            self._let_go(key)

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
            return self._decoding.taking(image.decode_bytes)

        def work() -> tuple[PreparedImage, float]:
            began = time.perf_counter()
            with tracing.span("decode", {"clickcut.file_bytes": len(data)}):
                decoded = self._decoder.decode(data, self.limits, cancellation, window, admit)
                key = _key(digest, window, owner)
                image = PreparedImage(decoded.pixels, digest, decoded.window, key)
            return image, 1e3 * (time.perf_counter() - began)

        return work

    async def _decode(self, work: Callable[[], tuple[PreparedImage, float]], peer: Peer) -> Found:
        (image, spent), queue = await self._pool.run(work, peer, continues=True)
        self._check_in_use(image.nbytes)
        self.trim(image.nbytes)
        return Found(self._hold(image).image, False, queue, spent, had_turn=True)

    def check_growth(self, image: PreparedImage) -> None:
        """Make sure that an image in use may grow: as far as was reserved, or where there is room.

        Raises:
            BusyError: it has outgrown that, and images in use fill their memory.
        """
        self.measure(image)
        self.trim()
        if image.nbytes > self._reserved(image):
            self._check_in_use(0)

    def _came(self, key: str, task: asyncio.Task[Found]) -> None:
        coming = self._coming.get(key)
        if coming is not None and coming.task is task:
            del self._coming[key]
        if not task.cancelled():
            task.exception()  # mark as retrieved, even if all clients are gone

    def _check_in_use(self, wanted: int) -> None:
        while self._in_use + wanted > self._budget or self._in_use >= self._budget:
            if not self.make_room():
                raise self._full()

    def _full(self) -> BusyError:
        return BusyError(
            f"images in use fill the memory for images ({self._in_use // MIB} of "
            f"{self._budget // MIB} MiB): close sessions, or start the server with a larger "
            "--image-memory-mib",
            reason="image memory",
        )

    def _hold(self, image: PreparedImage) -> _Held:
        """Put an image into the store, or return the one that is there."""
        held = self._held.get(image.key)
        if held is None:
            held = self._held[image.key] = _Held(image)
            self._count(held)
        return held

    def _let_go(self, key: str) -> int:
        """Remove an image without users from the store; return its bytes."""
        nbytes = self._held.pop(key).nbytes
        self._nbytes -= nbytes
        return nbytes

    def _count(self, held: _Held) -> None:
        """Bring the sums up to date with an image."""
        nbytes = held.image.nbytes
        needed = max(nbytes, self._reserved(held.image)) if held.users else 0
        self._nbytes += nbytes - held.nbytes
        self._in_use += needed - held.needed
        held.nbytes, held.needed = nbytes, needed

    def _reserved(self, image: PreparedImage) -> int:
        pixels = image.width * image.height
        grown = image.pixels.nbytes + _CUT_BYTES * min(pixels, _CUT_PIXELS)
        return min(grown, self._budget)  # a single one may take it all


def _key(digest: str, window: Window | None, owner: str) -> str:
    """Return the key of an image of a token.

    Tokens share no image, not even an equal one: a faster answer would tell what another has sent.
    """
    return f"{owner} {key_of(digest, window)}"


def _owner_of(key: str) -> str:
    return key.partition(" ")[0]


def check_digest(digest: str) -> None:
    """Check the form of a digest.

    Raises:
        EventError: not 64 lower-case hex digits.
    """
    if not _DIGEST.fullmatch(digest):
        raise EventError(f"a digest is 64 lower-case hex digits, got {digest[:80]!r}")
