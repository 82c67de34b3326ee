"""Fair turns: one client's long request does not keep others waiting, and stops on request."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from fakes import FakePredictor
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from server.harness import image_file, wait_until

from clickcut.errors import BusyError, LimitError, StalledError
from clickcut.server.core import Core
from clickcut.server.pace import MIN_STEPS, STEPS, Pace
from clickcut.server.peers import FairQueue, Peer
from clickcut.server.pool import ComputePool
from clickcut.server.rooms import Room
from clickcut.server.segment import segment
from clickcut.server.settings import Settings
from clickcut.v1 import clickcut_pb2 as pb

IMAGE = image_file()
CLICKS = [pb.Click(x=x, y=y) for x, y in itertools.product(range(5, 155, 3), range(5, 115, 1))][
    :5000
]


def peer(host: str, port: int = 1) -> Peer:
    return Peer.of(f"ipv4:{host}:{port}")


# ---- order


def taken(queue: FairQueue[str]) -> Iterator[str]:
    while (entry := queue.take()) is not None:
        yield entry


def test_hosts_then_connections_take_turns() -> None:
    queue: FairQueue[str] = FairQueue()
    for k in range(3):
        queue.put(peer("a", 1), f"a1.{k}")
    for k in range(2):
        queue.put(peer("a", 2), f"a2.{k}")
    queue.put(peer("b"), "b.0")
    queue.put(peer("b"), "b.1")
    assert len(queue) == 7
    assert list(taken(queue)) == ["a1.0", "b.0", "a2.0", "b.1", "a1.1", "a2.1", "a1.2"]
    assert len(queue) == 0


def test_tokens_take_turns_before_hosts() -> None:
    """A token that is used on many hosts has one turn where another on one host has one."""
    queue: FairQueue[str] = FairQueue()
    for host in "abc":
        queue.put(replace(peer(host), owner="many"), f"many.{host}")
    queue.put(replace(peer("a"), owner="one"), "one.0")
    queue.put(replace(peer("a"), owner="one"), "one.1")
    assert list(taken(queue)) == ["many.a", "one.0", "many.b", "one.1", "many.c"]


def test_the_token_that_has_the_most_gives_way() -> None:
    queue: FairQueue[str] = FairQueue()
    for host in "abc":
        queue.put(replace(peer(host), owner="many"), f"many.{host}")
    queue.put(replace(peer("b", 2), owner="many"), "many.b.2")
    queue.put(replace(peer("b", 2), owner="many"), "many.b.3")
    queue.put(replace(peer("d"), owner="one"), "one.0")
    newcomer = replace(peer("d"), owner="one")
    assert list(queue.heaviest(newcomer, 2) or ()) == ["many.b.2", "many.b.3"]
    assert queue.heaviest(replace(peer("e"), owner="many"), 4) is None  # its own token has the most
    assert list(queue.heaviest(replace(peer("e"), owner="many"), 2) or ()) == [
        "many.b.2",
        "many.b.3",
    ]
    assert queue.heaviest(newcomer, 5) is None
    assert queue.heaviest(replace(peer("b", 2), owner="many"), 1) is None
    assert list(queue.heaviest(replace(peer("b", 2), owner="many"), 0) or ()) == [
        "many.b.2",
        "many.b.3",
    ]


@given(st.lists(st.tuples(*[st.sampled_from("abc")] * 3), max_size=30), st.randoms())
def test_nothing_in_a_queue_is_lost(names: list[tuple[str, str, str]], random: Random) -> None:
    queue: FairQueue[int] = FairQueue()
    peers = [Peer(host, connection, owner) for owner, host, connection in names]
    for k, who in enumerate(peers):
        queue.put(who, k)
    removed = random.sample(range(len(peers)), len(peers) // 3)
    for k in removed:
        assert queue.remove(peers[k], k)
        assert not queue.remove(peers[k], k)
    left = list(iter(queue.take, None))
    assert sorted([*left, *removed]) == list(range(len(peers)))
    assert len(queue) == 0
    order: dict[Peer, list[int]] = {}
    for k in left:
        order.setdefault(peers[k], []).append(k)
    assert all(ks == sorted(ks) for ks in order.values())


def test_what_is_removed_does_not_come() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put(peer("a"), "first")
    queue.put(peer("a"), "second")
    assert queue.remove(peer("a"), "first")
    assert not queue.remove(peer("a"), "first")
    assert not queue.remove(peer("b"), "second")
    assert list(taken(queue)) == ["second"]


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("ipv4:10.0.0.7:51234", "10.0.0.7"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:51234", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:80", "2001:db8:1:2::/64"),
        ("ipv6:%5B::ffff:10.0.0.7%5D:51234", "10.0.0.7"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::/64"),
        ("unix:/run/clickcut.sock", "unix:/run/clickcut.sock"),
        ("", ""),
        ("ipv6:nonsense", ""),
    ],
)
def test_the_host_of_a_peer(name: str, host: str) -> None:
    assert Peer.of(name) == Peer(host, name)


# ---- the pool


async def settle() -> None:
    """Let all tasks of the loop run as far as they can."""
    for _ in range(100):
        await asyncio.sleep(0)


def with_pool(workers: int, queue: int, use: Callable[[ComputePool], Awaitable[None]]) -> None:
    async def run() -> None:
        pool = ComputePool(workers, queue)
        try:
            await use(pool)
        finally:
            pool.close()

    asyncio.run(run())


def test_a_full_queue_gives_way_to_who_has_less() -> None:
    async def use(pool: ComputePool) -> None:
        go = threading.Event()
        greedy = [asyncio.create_task(pool.run(go.wait, peer("a"))) for _ in range(5)]
        await asyncio.sleep(0)
        honest = [asyncio.create_task(pool.run(go.wait, peer("b"))) for _ in range(2)]
        await settle()
        assert pool.unfinished == 5
        refused = [task for task in greedy if task.done()]
        assert refused == greedy[3:]  # the last ones
        with pytest.raises(LimitError, match="busy"):
            await pool.run(go.wait, peer("a"))
        go.set()
        await asyncio.gather(*greedy[:3], *honest)
        for task in refused:
            assert isinstance(task.exception(), LimitError)

    with_pool(1, 4, use)


def test_a_further_part_of_a_request_goes_ahead_and_is_not_refused() -> None:
    async def use(pool: ComputePool) -> None:
        go, order = threading.Event(), []
        running = asyncio.create_task(pool.run(go.wait, peer("a")))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(pool.run(lambda: order.append("waits"), peer("b")))
        await asyncio.sleep(0)
        with pytest.raises(LimitError):
            await pool.run(lambda: None, peer("c"))
        part = pool.run(lambda: order.append("continues"), peer("c"), continues=True)
        further = asyncio.create_task(part)
        await asyncio.sleep(0)
        assert pool.unfinished == 3
        go.set()
        await asyncio.gather(running, waiting, further)
        assert order == ["continues", "waits"]

    with_pool(1, 1, use)


def test_a_further_part_can_be_taken_back() -> None:
    async def use(pool: ComputePool) -> None:
        go, done = threading.Event(), []
        running = asyncio.create_task(pool.run(go.wait, peer("a")))
        await asyncio.sleep(0)
        further = asyncio.create_task(pool.run(lambda: done.append(1), peer("b"), continues=True))
        await asyncio.sleep(0)
        further.cancel()
        await asyncio.gather(further, return_exceptions=True)
        assert pool.unfinished == 1
        go.set()
        await running
        assert not done

    with_pool(1, 1, use)


def test_its_steps_wait_like_those_of_others() -> None:
    order: list[str] = []

    def steps(name: str) -> Any:
        for k in range(2):
            order.append(f"{name}{k}")
            yield

    async def use(pool: ComputePool) -> None:
        go = threading.Event()
        running = asyncio.create_task(pool.run(go.wait, peer("a")))
        await asyncio.sleep(0)
        first = asyncio.create_task(pool.run_steps(steps("waits"), peer("b")))
        await asyncio.sleep(0)
        second = asyncio.create_task(pool.run_steps(steps("ahead"), peer("c"), continues=True))
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(running, first, second)
        assert order == ["ahead0", "waits0", "ahead1", "waits1"]

    with_pool(1, 9, use)


def test_the_pace_of_the_latest_steps() -> None:
    pace = Pace()
    for _ in range(MIN_STEPS - 1):
        pace.add(0.1)
    assert pace.wait(50, 1) == 0.0  # nothing is known
    pace.add(0.1)
    assert pace.wait(1, 2) == 0.0  # a worker is free
    assert pace.wait(2, 2) == pytest.approx(0.05)  # the first of two that will be
    assert pace.wait(11, 2) == pytest.approx(0.5)
    for _ in range(STEPS):
        pace.add(0.02)
    assert pace.wait(10, 1) == pytest.approx(0.2)


def test_a_queue_that_takes_too_long_is_full_and_says_when_it_is_not() -> None:
    async def use() -> None:
        pool = ComputePool(1, 1000, max_wait=0.5)
        try:
            go = threading.Event()
            for _ in range(STEPS):
                await pool.run(lambda: None)
            for _ in range(STEPS):
                pool._pace.add(0.1)
            tasks = [asyncio.create_task(pool.run(go.wait, peer("a", k))) for k in range(6)]
            await asyncio.sleep(0)
            with pytest.raises(BusyError, match="--queue-seconds") as refused:
                await pool.run(go.wait, peer("a", 7))
            assert refused.value.retry_after == pytest.approx(0.6)
            assert refused.value.reason == "queue"
            go.set()
            await asyncio.gather(*tasks)
        finally:
            pool.close()

    asyncio.run(use())


def test_waiting_too_long_is_refused() -> None:
    async def use(pool: ComputePool) -> None:
        go = threading.Event()
        running = asyncio.create_task(pool.run(go.wait, peer("a")))
        await asyncio.sleep(0)
        with pytest.raises(LimitError, match="waited") as refused:
            await pool.run(go.wait, peer("b"), 0.05)
        assert refused.value.reason == "wait"
        assert pool.unfinished == 1
        go.set()
        await running

    with_pool(1, 4, use)


def test_steps_stop_when_the_time_is_up() -> None:
    closed = threading.Event()

    def endless() -> Any:
        try:
            while True:
                yield
        finally:
            closed.set()

    async def use(pool: ComputePool) -> None:
        over = False
        while not over:
            with contextlib.suppress(BusyError):  # the machine stood still before the first step
                with pytest.raises(StalledError, match="fewer clicks"):
                    await pool.run_steps(endless(), peer("a"), 0.05)
                over = True
        await asyncio.to_thread(closed.wait)
        await asyncio.to_thread(wait_until, lambda: pool.unfinished == 0, "the pool is idle")

    with_pool(1, 4, use)


# ---- calls in progress


def test_a_newcomer_takes_the_place_of_the_oldest_of_the_fullest_peer() -> None:
    async def use() -> None:
        room = Room(3, "calls")
        ended: list[str] = []

        async def stay(name: str, who: Peer) -> None:
            try:
                async with room.place(who):
                    await asyncio.Event().wait()
            except LimitError:
                ended.append(name)

        tasks = [asyncio.create_task(stay(f"a{k}", peer("a", k))) for k in range(3)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(stay("b", peer("b"))))
        await settle()
        assert ended == ["a0"]
        tasks.append(asyncio.create_task(stay("a3", peer("a", 3))))
        await settle()
        assert ended == ["a0", "a1"]
        assert len(room) == 3
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(room) == 0

    asyncio.run(use())


def test_where_calls_make_progress_ones_own_are_not_ended() -> None:
    async def use() -> None:
        room = Room(1, "uploads", keeps_own=True)
        async with room.place(peer("a")):
            with pytest.raises(LimitError, match="too many uploads"):
                async with room.place(peer("a")):
                    raise AssertionError

    asyncio.run(use())


# ---- Segment


class Counting(FakePredictor):
    """Writes its name into a list at each prediction; may be held."""

    def __init__(self, name: str, order: list[str]) -> None:
        super().__init__()
        self._name, self._order = name, order
        self.reached, self.go = threading.Event(), threading.Event()
        self.go.set()

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self._order.append(self._name)
        self.reached.set()
        self.go.wait()
        return np.full((len(batch), *batch.shape[2:]), -1, np.float32)


class OneModelEach:
    """Models of a server; each client has one of its own, which identifies its clicks."""

    def __init__(self, *names: str) -> None:
        self.order: list[str] = []
        self.of_name = {name: Counting(name, self.order) for name in names}

    def find(self, name: str) -> Any:
        predictor = self.of_name[name]

        class Choice:
            def of(self, digest: str) -> Counting:
                return predictor

        return Choice()


def with_core(models: OneModelEach, use: Callable[[Core], Awaitable[None]], **flags: Any) -> None:
    async def run() -> None:
        core = Core(Settings(**flags), models, 1)  # type: ignore[arg-type]
        core.ready = True
        try:
            await use(core)
        finally:
            core.pool.close()

    asyncio.run(run())


def ask(core: Core, name: str, clicks: int) -> asyncio.Task[pb.SegmentReply]:
    request = pb.SegmentRequest(
        image=IMAGE, model=name, clicks=CLICKS[:clicks], parameters=pb.Parameters(cut=False)
    )
    return asyncio.create_task(segment(core, request, peer(name)))


def test_two_long_requests_do_not_keep_a_third_waiting() -> None:
    models = OneModelEach("greedy", "greedier", "honest")

    async def use(core: Core) -> None:
        abusers = [ask(core, name, 5000) for name in ("greedy", "greedier")]
        await asyncio.to_thread(models.of_name["greedier"].reached.wait)
        for _ in range(10):
            at = len(models.order)
            await ask(core, "honest", 10)
            clicks = [k for k, name in enumerate(models.order[at:]) if name == "honest"]
            assert len(clicks) == 10
            # Each waits for one click of each of the others, no more.
            assert {b - a for a, b in itertools.pairwise(clicks)} == {3}
        assert not any(task.done() for task in abusers)
        for task in abusers:
            task.cancel()
        await asyncio.gather(*abusers, return_exceptions=True)
        await asyncio.to_thread(wait_until, lambda: core.pool.unfinished == 0, "all has stopped")

    with_core(models, use, max_clicks=5000)


def test_a_cancelled_request_stops_after_its_step() -> None:
    models = OneModelEach("only")

    async def use(core: Core) -> None:
        predictor = models.of_name["only"]
        predictor.go.clear()
        task = ask(core, "only", 500)
        await asyncio.to_thread(predictor.reached.wait)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        predictor.go.set()
        await asyncio.to_thread(wait_until, lambda: core.pool.unfinished == 0, "it has stopped")
        assert models.order == ["only"]

    with_core(models, use)


def test_too_many_clicks_are_refused_before_anything_is_done() -> None:
    models = OneModelEach("only")

    async def use(core: Core) -> None:
        with pytest.raises(LimitError, match="at most 1000 clicks, got 1001: use a session"):
            await ask(core, "only", 1001)
        assert not len(core.images)

    with_core(models, use)
