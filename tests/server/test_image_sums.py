"""The sums that the image store keeps are those that counting all images would give."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
import pytest

from clickcut.errors import BusyError
from clickcut.images import ImageLimits
from clickcut.scales import Scales
from clickcut.server.image_store import ImageStore
from clickcut.server.pool import ComputePool


@dataclass
class Growing:
    """An image whose size is what the test says; notes how often it was asked for it."""

    key: str
    scales: Scales
    size: int
    asked: int = 0
    width = 20
    height = 10

    @property
    def nbytes(self) -> int:
        self.asked += 1
        return self.size


def image(number: int, size: int = 600) -> Growing:
    return Growing(str(number), Scales(10, 20), size)


def check(store: ImageStore) -> None:
    held = list(store._held.values())
    assert store.nbytes == sum(h.image.size for h in held)  # type: ignore[attr-defined]
    reserved = 600 + 22 * 200
    in_use = sum(max(h.image.size, reserved) for h in held if h.users)  # type: ignore[attr-defined]
    assert store._in_use == in_use


@pytest.mark.parametrize("seed", range(20))
def test_sums_after_any_order_of_calls(seed: int) -> None:
    async def walk() -> None:
        rng = np.random.default_rng(seed)
        pool = ComputePool(1, 1)
        store = ImageStore(14_000, ImageLimits(), pool)
        images = [image(k) for k in range(12)]
        leases: list[Growing] = []
        refused = 0
        for _ in range(300):
            one = images[int(rng.integers(len(images)))]
            kind = rng.integers(4)
            if kind == 0:
                try:
                    store.lease(one)  # type: ignore[arg-type]
                    leases.append(one)
                except BusyError:
                    refused += 1
            elif kind == 1 and leases:
                store.release(leases.pop(int(rng.integers(len(leases)))))  # type: ignore[arg-type]
            elif kind == 2 and one.key in store._held:
                one.size = int(rng.integers(600, 9000))
                store.measure(one)  # type: ignore[arg-type]
            else:
                store.trim(int(rng.integers(0, 50_000)))
            check(store)
            for leased in leases:
                assert leased.key in store._held
        assert refused
        pool.close()

    asyncio.run(walk())


def test_an_event_counts_its_own_image_only() -> None:
    async def use() -> None:
        pool = ComputePool(1, 1)
        store = ImageStore(10**9, ImageLimits(), pool)
        images = [image(k) for k in range(50)]
        for one in images:
            store.lease(one)  # type: ignore[arg-type]
            one.asked = 0
        store.check_growth(images[0])  # type: ignore[arg-type]
        store.measure(images[0])  # type: ignore[arg-type]
        assert store.nbytes == 50 * 600
        assert images[0].asked
        assert not any(one.asked for one in images[1:])
        pool.close()

    asyncio.run(use())
