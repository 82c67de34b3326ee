"""Images in memory: counted, bounded in bytes, least recently used first out.

Used from the event loop only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from clickcut.errors import BusyError, LimitError
from clickcut.images import PreparedImage, Window, key_of
from clickcut.server.quotas import LimitsOf
from clickcut.server.settings import MIB

_CUT_BYTES, _CUT_PIXELS = 22, 1_000_000
"""Bytes per pixel for edge weights where the cut was computed, and pixels where it was after a few
clicks: everywhere in a small image, around the object in a large one. Measured; see
benchmarks/results/memory.md."""


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


class HeldImages:
    """Holds images while they are in use, and afterwards while there is room.

    Args:
        budget: bytes for all images together.
        limits_of: limits of a token.

    Attributes:
        make_room: called when images in use fill the budget; evicts a user of one, or returns
            False.
    """

    def __init__(self, budget: int, limits_of: LimitsOf) -> None:
        self._budget = budget
        self._limits_of = limits_of
        self.make_room: Callable[[], bool] = lambda: False
        self._held: OrderedDict[str, _Held] = OrderedDict()
        # Sums over all images held: counting them for each event would take longer the more
        # there are.
        self._nbytes = self._in_use = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes of all images held, each as it was counted last; see `measure`."""
        return self._nbytes

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
            nbytes[owner_of(key)] += held.nbytes
            if not held.users:
                unused[owner_of(key)].append(key)
        while excess > 0 and unused:
            owner = max(unused, key=nbytes.__getitem__)
            freed = self._let_go(unused[owner].popleft())
            excess -= freed
            nbytes[owner] -= freed
            if not unused[owner]:
                del unused[owner]

    def check_growth(self, image: PreparedImage) -> None:
        """Make sure that an image in use may grow: as far as was reserved, or where there is room.

        Raises:
            BusyError: it has outgrown that, and images in use fill their memory.
        """
        self.measure(image)
        self.trim()
        if image.nbytes > self._reserved(image):
            self._check_in_use(0)

    def _check_count(self, owner: str, coming: int) -> None:
        """Make sure that a token may have one more image; let go one that it does not use.

        Args:
            owner: the token.
            coming: number of its images that are being decoded.

        Raises:
            LimitError: all that it may have are in use.
        """
        limit = self._limits_of(owner).images
        if limit is None:
            return
        own = [key for key in self._held if owner_of(key) == owner]
        count = len(own) + coming
        unused = [key for key in own if not self._held[key].users]
        if count - len(unused) >= limit:
            raise LimitError(
                f"your token has {limit} images in use, its maximum: close sessions, or have "
                "its limit `images` raised",
                reason="images of a token",
            )
        for key in unused[: max(0, count + 1 - limit)]:
            self._let_go(key)

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
        grown = image.scales.nbytes + _CUT_BYTES * min(pixels, _CUT_PIXELS)
        return min(grown, self._budget)  # a single one may take it all


def image_key(digest: str, window: Window | None, owner: str) -> str:
    """Return the key of an image of a token.

    Tokens share no image, not even an equal one: a faster answer would tell what another has sent.
    """
    return f"{owner} {key_of(digest, window)}"


def owner_of(key: str) -> str:
    """Return the token that a key belongs to."""
    return key.partition(" ")[0]
