"""Parts of the server alone: status codes, the pool, the image store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from grpc import StatusCode
from pydantic import ValidationError
from server.harness import DEADLINE, image_file, wait_until

from clickcut import errors
from clickcut import grpc_status as status
from clickcut.errors import ClickcutError, EventError, ImageError, ImageNotFoundError, LimitError
from clickcut.image_file import Window
from clickcut.image_file.cancellation import Cancellation
from clickcut.image_file.lazy import Admit, Opened
from clickcut.image_file.process import Decoder
from clickcut.images import ImageLimits, PreparedImage, digest_of
from clickcut.region import Region
from clickcut.server.image_store import ImageStore
from clickcut.server.peers import Peer
from clickcut.server.pool import ComputePool
from clickcut.server.quotas import Quotas
from clickcut.server.settings import Settings
from clickcut.server.token_file import TokenLimits

# ---- status


def all_errors() -> list[type[ClickcutError]]:
    kinds = [*vars(errors).values(), *vars(status).values()]
    found = {k for k in kinds if isinstance(k, type) and issubclass(k, ClickcutError)}
    at_clients = {errors.UsageError}  # never sent
    return sorted(found - {ClickcutError} - at_clients, key=lambda k: k.__name__)


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_survives_the_wire(kind: type[ClickcutError]) -> None:
    error = kind("words")
    back = status.error_of(status.code_of(error), str(error), kind.__name__)
    assert type(back) is kind
    assert str(back) == "words"
    assert status.number_of(error) == status.code_of(error).value[0]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (StatusCode.INVALID_ARGUMENT, EventError),
        (StatusCode.RESOURCE_EXHAUSTED, errors.BusyError),
        (StatusCode.ABORTED, errors.TakenOverError),
        (StatusCode.UNAVAILABLE, errors.UnavailableError),
        (StatusCode.INTERNAL, errors.ServerError),
        (StatusCode.UNIMPLEMENTED, errors.ServerError),
        (8, errors.BusyError),
        (12345, errors.ServerError),
    ],
)
def test_a_code_without_a_name(code: StatusCode | int, kind: type[ClickcutError]) -> None:
    assert type(status.error_of(code, "words")) is kind


# ---- pool


def with_pool(workers: int, queue: int, use: Callable[[ComputePool], Awaitable[None]]) -> None:
    async def run() -> None:
        pool = ComputePool(workers, queue)
        try:
            await use(pool)
        finally:
            pool.close()

    asyncio.run(run())


def test_the_pool_refuses_what_is_too_much() -> None:
    async def use(pool: ComputePool) -> None:
        go = threading.Event()
        running = [asyncio.create_task(pool.run(go.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        assert pool.unfinished == 3
        with pytest.raises(LimitError, match="--queue"):
            await pool.run(go.wait)
        go.set()
        waits = [waited for _, waited in await asyncio.gather(*running)]
        assert all(waited >= 0 for waited in waits)
        assert (await pool.run(lambda: 7))[0] == 7

    with_pool(2, 1, use)


def test_cancelled_work_is_taken_back_or_finished() -> None:
    async def use(pool: ComputePool) -> None:
        go, done = threading.Event(), []
        started = threading.Event()

        def work() -> None:
            started.set()
            go.wait()
            done.append(1)

        running = asyncio.create_task(pool.run(work))
        waiting = asyncio.create_task(pool.run(lambda: done.append(2)))
        await asyncio.to_thread(started.wait)
        for task in (running, waiting):
            task.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        go.set()
        await asyncio.to_thread(wait_until, lambda: pool.unfinished == 0, "the pool is idle")
        assert done == [1]

    with_pool(1, 1, use)


def test_an_error_of_the_work_reaches_the_caller() -> None:
    async def use(pool: ComputePool) -> None:
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)
        assert pool.unfinished == 0

    with_pool(1, 0, use)


# ---- images


def with_store(budget: int, use: Callable[[ImageStore], Awaitable[None]]) -> None:
    async def run(pool: ComputePool) -> None:
        await use(ImageStore(budget, ImageLimits(), pool))

    with_pool(2, 8, run)


ALICE, BOB = Peer("a", "a:1", "alice"), Peer("a", "a:2", "bob")
FILES = [image_file(200, 100, seed) for seed in range(4)]
ONE = 70_000  # more than one of them takes


def test_the_least_recently_used_image_goes() -> None:
    async def use(store: ImageStore) -> None:
        found = [(await store.add(data)).image for data in FILES[:2]]
        store.find(found[0].digest)
        third = (await store.add(FILES[2])).image
        assert store.nbytes <= budget
        assert store.find(found[0].digest) is found[0]
        assert store.find(third.digest) is third
        with pytest.raises(ImageNotFoundError, match="send the image"):
            store.find(found[1].digest)

    budget = 2 * image_bytes() + image_bytes() // 2
    with_store(budget, use)


def test_images_of_the_token_that_has_the_most_go_first() -> None:
    """One that sends many does not push out the older image of another."""

    async def use(store: ImageStore) -> None:
        old = (await store.add(FILES[0], peer=BOB)).image
        many = [(await store.add(data, peer=ALICE)).image for data in FILES]
        assert store.nbytes <= budget
        assert store.find(old.digest, owner="bob") is old
        with pytest.raises(ImageNotFoundError):
            store.find(many[0].digest, owner="alice")
        assert store.find(many[-1].digest, owner="alice") is many[-1]
        assert len(store) == 3

    budget = 3 * image_bytes() + image_bytes() // 2
    with_store(budget, use)


def test_tokens_share_no_image() -> None:
    async def use(store: ImageStore) -> None:
        ours, theirs = await asyncio.gather(
            store.add(FILES[0], peer=ALICE), store.add(FILES[0], peer=BOB)
        )
        assert not ours.known
        assert not theirs.known
        assert ours.image is not theirs.image  # edge weights, which make a click faster, included
        assert (await store.add(FILES[0], peer=ALICE)).image is ours.image
        for owner in ("", "carol", "alic"):
            with pytest.raises(ImageNotFoundError):
                store.find(ours.image.digest, owner=owner)

    with_store(10**9, use)


def test_a_token_may_hold_so_many_images() -> None:
    quotas = Quotas(lambda owner: TokenLimits(images=2 if owner == "alice" else None))

    async def use(pool: ComputePool) -> None:
        store = ImageStore(10**9, ImageLimits(), pool, quotas=quotas)
        first = (await store.add(FILES[0], peer=ALICE)).image
        store.lease(first)
        for data in FILES[1:]:
            await store.add(data, peer=ALICE)
            await store.add(data, peer=BOB)
        assert len(store) == 2 + 3
        assert store.find(first.digest, owner="alice") is first
        last = store.find(digest_of(FILES[3]), owner="alice")
        store.lease(last)
        with pytest.raises(LimitError, match="2 images in use"):
            await store.add(FILES[1], peer=ALICE)
        store.release(last)
        answers = await asyncio.gather(
            *(store.add(data, peer=ALICE) for data in FILES[1:3]), return_exceptions=True
        )  # those that are being decoded count as well
        assert sorted(type(a) is LimitError for a in answers) == [False, True]

    with_pool(2, 8, use)


def image_bytes() -> int:
    from clickcut.images import prepare

    return prepare(FILES[0]).nbytes


def test_a_leased_image_stays() -> None:
    async def use(store: ImageStore) -> None:
        first = (await store.add(FILES[0])).image
        store.lease(first)
        with pytest.raises(LimitError, match="--image-memory-mib"):
            await store.add(FILES[1])
        assert store.find(first.digest) is first
        store.release(first)
        await store.add(FILES[1])
        assert len(store) == 1

    with_store(image_bytes() + image_bytes() // 2, use)


def test_what_is_leased_may_grow_and_what_would_not_fit_then_is_refused() -> None:
    async def use(store: ImageStore) -> None:
        images = [(await store.add(data)).image for data in FILES[:3]]
        for image in images[:2]:
            store.lease(image)
        with pytest.raises(LimitError, match="--image-memory-mib"):
            store.lease(images[2])
        for image in images[:2]:
            fill(image)
            store.check_growth(image)
        assert store.nbytes <= budget
        store.release(images[0])
        third = (await store.add(FILES[2])).image
        store.lease(third)
        fill(third)
        store.check_growth(third)
        assert store.find(images[1].digest) is images[1]

    budget = 1_200_000  # two, with all edge weights
    with_store(budget, use)


def test_an_image_that_outgrows_what_was_reserved_troubles_no_other() -> None:
    async def use(store: ImageStore) -> None:
        greedy, other = [(await store.add(data)).image for data in FILES[:2]]
        store.lease(greedy)
        store.lease(other)
        for factor in range(2, 9):
            fill(greedy, factor)
        with pytest.raises(LimitError, match="--image-memory-mib"):
            store.check_growth(greedy)
        fill(other)
        store.check_growth(other)

    with_store(1_005_000, use)


def fill(image: PreparedImage, factor: int = 1) -> None:
    """Compute all edge weights, as if the cut had been everywhere."""
    edges = image.pyramid.at(factor)
    edges.dense(Region(0, 0, edges.image.shape[1], edges.image.shape[0]))


def test_the_same_file_at_the_same_time_is_decoded_once() -> None:
    async def use(store: ImageStore) -> None:
        found = await asyncio.gather(*(store.add(FILES[0]) for _ in range(5)))
        assert len({id(f.image) for f in found}) == 1

    with_store(10**9, use)


def test_a_bad_file_is_refused_to_all_who_sent_it() -> None:
    async def use(store: ImageStore) -> None:
        tasks = [store.add(b"not an image") for _ in range(3)]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(a) for a in answers] == [ImageError] * 3
        with pytest.raises(ImageError, match="damaged in transit"):
            await store.add(FILES[0], "0" * 64)
        assert len(store) == 0

    with_store(10**9, use)


class SlowDecoder(Decoder):
    """Decodes when released, or is cancelled first."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()
        self.stopped = 0

    def decode(
        self,
        data: bytes,
        limits: ImageLimits | None = None,
        cancellation: Cancellation | None = None,
        window: Window | None = None,
        admit: Admit | None = None,
        admit_full: Admit | None = None,
    ) -> Opened:
        assert cancellation is not None
        with cancellation.stopping(self.go.set):
            self.begun.set()
            assert self.go.wait(30)
        self.stopped += cancellation.cancelled
        cancellation.check()
        return super().decode(data, limits, cancellation, window, admit, admit_full)


@pytest.mark.parametrize("gone", [1, 2])
def test_decoding_stops_when_no_one_waits_any_more(gone: int) -> None:
    decoder = SlowDecoder()

    async def use(pool: ComputePool) -> None:
        store = ImageStore(10**9, ImageLimits(), pool, decoder)
        waiting = [asyncio.create_task(store.add(FILES[0])) for _ in range(2)]
        assert await asyncio.to_thread(decoder.begun.wait, DEADLINE)
        (coming,) = store._coming.values()
        while coming.waiting < 2:
            await asyncio.sleep(0.01)
        for task in waiting[:gone]:
            task.cancel()
        if gone == 1:
            await asyncio.sleep(0.05)
            decoder.go.set()
            assert (await waiting[1]).image is store.find(digest_of(FILES[0]))
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.to_thread(wait_until, lambda: not pool.unfinished, "pool idle")
        assert decoder.stopped == (gone == 2)
        assert len(store) == (gone == 1)
        decoder.go.set()
        assert (await store.add(FILES[0])).image.width == 200  # asked for again

    with_pool(2, 8, use)


# ---- settings


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKCUT_MODEL", "a.onnx b.onnx")
    monkeypatch.setenv("CLICKCUT_MAX_SESSIONS", "7")
    settings = Settings()
    assert settings.model == ["a.onnx", "b.onnx"]
    assert settings.max_sessions == 7
    assert settings.host == "127.0.0.1"
    assert Settings(max_sessions=3).max_sessions == 3


@pytest.mark.parametrize("address", ["", "50051", ":50051", "localhost:", "localhost:65536"])
def test_a_bad_address(address: str) -> None:
    with pytest.raises(ValidationError, match="HOST:PORT"):
        Settings(address=address)
