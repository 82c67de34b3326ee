"""What every store must do, against a naive one; Redis skips where it is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive_store import NaiveStore
from store.stores import LIMITS, RedisServer, digest_of, opening

from clickcut.errors import LimitError, StoreFullError
from clickcut.store import Append, Create, Drop, Store, open_store

IMAGES = (b"image", b"another image")
EVENTS = (b"", b"\x00\xff", b"click")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        opened = open_store(f"sqlite:{tmp_path}/sessions.db", LIMITS)
    else:
        import redis

        url = request.getfixturevalue("redis").url
        with redis.Redis.from_url(url) as client:
            client.flushall()
        opened = open_store(url, LIMITS)
    assert opened is not None
    yield opened
    opened.close()


sessions = st.sampled_from(["one", "two"])
owners = st.sampled_from(["", "ann", "bob: \x00é"])
writes = st.one_of(
    st.builds(Create, st.builds(opening, sessions, owners, st.sampled_from(IMAGES))),
    st.builds(Append, sessions, st.integers(1, 3), st.integers(0, 3), st.sampled_from(EVENTS)),
    st.builds(Drop, sessions),
)
loads = st.tuples(sessions, owners, st.integers(0, 3), st.booleans())
images = st.tuples(owners, st.sampled_from(IMAGES))
operations = st.lists(st.one_of(writes, loads, images), max_size=30)


@given(operations=operations)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_does_what_the_naive_one_does(store: Store, operations: list[object]) -> None:
    naive = NaiveStore()
    clean(store)
    for operation in operations:
        if isinstance(operation, Create | Append | Drop):
            if isinstance(operation, Create) and operation.opening.session_id in naive.sessions:
                continue  # ids are random; the same one never comes twice
            (outcome,) = store.commit([operation])
            said = "None" if outcome is None else type(outcome).__name__
            assert said == naive.commit(operation)
        elif len(operation) == 4:  # type: ignore[arg-type]
            found = store.load(*operation)  # type: ignore[misc]
            seen = found and (found.opening, found.epoch, found.position, found.events)
            assert seen == naive.load(*operation)  # type: ignore[misc]
        else:
            owner, data = operation  # type: ignore[misc]
            store.put_image(owner, digest_of(data), data)
            naive.images[owner, digest_of(data)] = data
    for owner in ("", "ann", "bob: \x00é"):
        for data in IMAGES:
            kept = naive.images.get((owner, digest_of(data)))
            assert store.get_image(owner, digest_of(data)) == kept
            assert store.touch_image(owner, digest_of(data)) == (kept is not None)
        check_share(store, owner, naive.nbytes(owner))


def check_share(store: Store, owner: str, used: int) -> None:
    """Check that a store counts `used` bytes of an owner's sessions: not one less, not one more."""
    store.put_image(owner, digest_of(b"image"), b"image")
    probe = opening("probe", owner)
    wanted = used + 512 + len(probe.start)
    (refused,) = store.commit([Create(probe, share=wanted - 1)])
    assert type(refused).__name__ == "LimitError"
    assert store.load("probe", owner) is None
    assert store.commit([Create(probe, share=wanted), Drop("probe")]) == [None, None]


def clean(store: Store) -> None:
    """Hypothesis runs all examples on one store."""
    store.commit([Drop("one"), Drop("two")])
    fill(store, 2**20)
    store.commit([Create(opening("big", "filler", bytes(2**20))), Drop("big")])


def fill(store: Store, nbytes: int, start: int = 0) -> None:
    data = bytes([start]) * nbytes
    store.put_image("filler", digest_of(data), data)


def test_a_batch_is_written_in_order_and_each_write_has_its_outcome(store: Store) -> None:
    store.put_image("", digest_of(b"image"), b"image")
    outcomes = store.commit(
        [
            Create(opening("one")),
            Append("one", 1, 0, b"a"),
            Append("two", 1, 0, b"a"),
            Append("one", 1, 1, b"b"),
            Append("one", 2, 2, b"c"),
            Append("one", 1, 1, b"b"),
            Append("one", 1, 1, b"x"),
        ]
    )
    assert [type(o).__name__ for o in outcomes] == [
        *("NoneType", "NoneType", "SessionNotFoundError", "NoneType"),
        *("TakenOverError", "NoneType", "ConflictError"),
    ]
    found = store.load("one", "")
    assert found is not None
    assert found.events == [b"a", b"b"]


def test_the_loser_of_a_session_can_write_no_more(store: Store) -> None:
    store.put_image("", digest_of(b"image"), b"image")
    store.commit([Create(opening("one")), Append("one", 1, 0, b"first")])
    taken = store.load("one", "", take=True)
    assert taken is not None
    assert (taken.epoch, taken.position) == (2, 1)
    (lost,) = store.commit([Append("one", 1, 1, b"late")])
    assert type(lost).__name__ == "TakenOverError"
    assert store.commit([Append("one", taken.epoch, 1, b"second")]) == [None]
    assert store.load("one", "").events == [b"first", b"second"]  # type: ignore[union-attr]


def test_a_session_is_bounded(store: Store) -> None:
    store.put_image("", digest_of(b"image"), b"image")
    store.commit([Create(opening("one"))])
    half = bytes(LIMITS.max_session_bytes // 2)
    outcomes = store.commit([Append("one", 1, at, half) for at in range(3)])
    assert [type(o).__name__ for o in outcomes] == ["NoneType", "NoneType", "LimitError"]
    assert "--store-session-mib" in str(outcomes[2])
    assert store.load("one", "").position == 2  # type: ignore[union-attr]


def test_the_sessions_of_an_owner_are_bounded_together(store: Store) -> None:
    for owner in ("ann", "bob"):
        store.put_image(owner, digest_of(b"image"), b"image")
        for name in ("one", "two"):
            store.commit([Create(opening(f"{owner} {name}", owner))])
    share = 2 * (512 + len(opening().start)) + 3 * (64 + 1000)
    assert not any(
        store.commit([Append("ann one", 1, at, bytes(1000), share) for at in range(2)])
        + store.commit([Append("ann two", 1, 0, bytes(1000), share)])
    )
    outcomes = store.commit(
        [
            Append("ann one", 1, 2, b"", share),
            Append("ann two", 1, 1, b"", share),
            Append("ann two", 1, 0, bytes(1000), share),  # repeated: it is there already
            Append("bob one", 1, 0, bytes(1000), share),
            Create(opening("ann three", "ann"), share),
        ]
    )
    assert [type(o).__name__ for o in outcomes] == [
        *("LimitError", "LimitError", "NoneType", "NoneType", "LimitError")
    ]
    assert "`store-mib`" in str(outcomes[0])
    assert outcomes[0] is not None
    assert outcomes[0].reason == "stored sessions of a token"
    assert store.load("ann one", "ann", take=True).position == 2  # type: ignore[union-attr]
    assert store.commit([Drop("ann one"), Append("ann two", 1, 1, b"x", share)]) == [None, None]


def test_the_images_of_an_owner_are_bounded_together(store: Store) -> None:
    quarter = LIMITS.max_image_bytes // 4
    files = [bytes([k]) * quarter for k in range(5)]
    store.put_image("bob", digest_of(files[0]), files[0], 2 * quarter)
    for data in files[:3]:  # the third pushes out the first of its own
        store.put_image("ann", digest_of(data), data, 2 * quarter)
    kept = [store.touch_image("ann", digest_of(data)) for data in files]
    assert kept == [False, True, True, False, False]
    assert store.touch_image("bob", digest_of(files[0]))
    for data in files[1:3]:
        store.commit([Create(opening(f"on {data[0]}", "ann", data))])
    with pytest.raises(LimitError, match="`store-image-mib`") as refused:
        store.put_image("ann", digest_of(files[3]), files[3], 2 * quarter)
    assert refused.value.reason == "stored images of a token"
    store.put_image("bob", digest_of(files[3]), files[3], 2 * quarter)
    store.commit([Drop("on 1")])
    store.put_image("ann", digest_of(files[3]), files[3], 2 * quarter)
    kept = [store.touch_image("ann", digest_of(data)) for data in files]
    assert kept == [False, False, True, True, False]


def test_room_is_made_by_the_owner_that_has_the_most(store: Store) -> None:
    quarter = LIMITS.max_image_bytes // 4
    files = [bytes([k]) * quarter for k in range(6)]
    store.put_image("bob", digest_of(files[0]), files[0])  # unused for longest
    for data in files[1:4]:
        store.put_image("ann", digest_of(data), data)
    for data in files[4:]:
        store.put_image("ann", digest_of(data), data)
    assert store.touch_image("bob", digest_of(files[0])), "another owner's flood costs it nothing"
    kept = [store.touch_image("ann", digest_of(data)) for data in files]
    assert sum(kept) == 3
    assert kept[5]


def test_images_of_no_session_make_room_the_oldest_first(store: Store) -> None:
    quarter = LIMITS.max_image_bytes // 4
    files = [bytes([k]) * quarter for k in range(6)]
    for data in files[:4]:
        store.put_image("", digest_of(data), data)
    store.commit([Create(opening("one", "", files[0]))])
    store.put_image("", digest_of(files[4]), files[4])
    kept = [store.get_image("", digest_of(data)) is not None for data in files]
    assert kept[0], "the image of a session is never pruned"
    assert kept[4]
    assert sum(kept) == 4
    for at, data in enumerate(files[1:5]):
        store.put_image("", digest_of(data), data)
        store.commit([Create(opening(f"more {at}", "", data))])
        if at == 2:
            break
    with pytest.raises(StoreFullError, match="--store-image-mib"):
        store.put_image("", digest_of(files[5]), files[5])
    store.commit([Drop("one")])
    store.put_image("", digest_of(files[5]), files[5])
    assert store.get_image("", digest_of(files[0])) is None
    assert store.get_image("", digest_of(files[5])) == files[5]


def test_many_threads_put_the_same_image(store: Store) -> None:
    data = bytes(range(256)) * 200
    with ThreadPoolExecutor(8) as pool:
        for put in [pool.submit(store.put_image, "", digest_of(data), data) for _ in range(32)]:
            put.result()
    assert store.get_image("", digest_of(data)) == data


def test_it_says_what_it_is(store: Store) -> None:
    assert store.describe().startswith(("SQLite file /", "Redis at redis://127.0.0.1:"))
    assert store.warnings() == []
