"""CVAT's requests, all clicks each time, become events of sessions on the engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server.harness import ServerProcess, image_file

from clickcut.client import Client, Session, UnreachableError, recovery
from clickcut.errors import EventError, ImageError, LimitError
from clickcut_cvat.prompts import MAX_POINTS, Prompts
from clickcut_cvat.sessions import Interactor

IMAGE = image_file()  # 160 x 120
A, B, C, D = (80.5, 60.5), (30.2, 20.9), (120.0, 100.0), (60.5, 60.5)


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address) as opened:
        yield opened


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent to the engine, as it happens."""
    seen: list[str] = []

    def note(kind: type, name: str, label: str) -> None:
        real = getattr(kind, name)

        def noted(self: Any, *args: Any, **named: Any) -> Any:
            seen.append(label)
            return real(self, *args, **named)

        monkeypatch.setattr(kind, name, noted)

    note(Client, "open", "open")
    note(Session, "click", "click")
    note(Session, "remove_click", "remove")
    note(Session, "close", "close")
    return seen


def expected(client: Client, *clicks: tuple[int, int, bool]) -> np.ndarray[Any, Any]:
    with client.open(IMAGE) as session:
        for click in clicks:
            session.click(*click)
        return session.mask


def test_a_list_that_extends_the_last_one_costs_one_click(
    client: Client, events: list[str]
) -> None:
    interactor = Interactor(client)
    interactor.mask(IMAGE, Prompts.of([A], []))
    interactor.mask(IMAGE, Prompts.of([A], [B]))
    found = interactor.mask(IMAGE, Prompts.of([A, C], [B]))
    assert events == ["open", "click", "click", "click"]
    wanted = expected(client, (80, 60, True), (30, 20, False), (120, 100, True))
    assert wanted.any()
    assert np.array_equal(found, wanted)


def test_the_same_list_costs_nothing(client: Client, events: list[str]) -> None:
    interactor = Interactor(client)
    first = interactor.mask(IMAGE, Prompts.of([A], []))
    again = interactor.mask(IMAGE, Prompts.of([A], []))
    assert events == ["open", "click"]
    assert np.array_equal(first, again)


def test_a_removed_point_costs_one_removal(client: Client, events: list[str]) -> None:
    interactor = Interactor(client)
    interactor.mask(IMAGE, Prompts.of([A, C], [B]))
    found = interactor.mask(IMAGE, Prompts.of([C], [B]))
    assert events == ["open", "click", "click", "click", "remove"]
    assert np.array_equal(found, expected(client, (120, 100, True), (30, 20, False)))


def test_points_on_one_pixel_are_told_apart(client: Client, events: list[str]) -> None:
    interactor = Interactor(client)
    interactor.mask(IMAGE, Prompts.of([A, A], [B]))
    found = interactor.mask(IMAGE, Prompts.of([A], [B]))
    assert events[-1] == "remove"
    assert np.array_equal(found, expected(client, (80, 60, True), (30, 20, False)))


def test_objects_and_annotators_have_sessions_of_their_own(
    client: Client, events: list[str]
) -> None:
    interactor = Interactor(client)
    interactor.mask(IMAGE, Prompts.of([A], []))
    interactor.mask(IMAGE, Prompts.of([C], []))
    one = interactor.mask(IMAGE, Prompts.of([A], [B]))
    two = interactor.mask(IMAGE, Prompts.of([C], [D]))
    assert events == ["open", "click", "open", "click", "click", "click"]
    assert np.array_equal(one, expected(client, (80, 60, True), (30, 20, False)))
    assert np.array_equal(two, expected(client, (120, 100, True), (60, 60, False)))


def test_evicted_sessions_are_closed(client: Client, events: list[str]) -> None:
    interactor = Interactor(client, max_sessions=2)
    for point in (A, C, D):
        interactor.mask(IMAGE, Prompts.of([point], []))
    assert events.count("close") == 1
    interactor.mask(IMAGE, Prompts.of([C], [B]))  # the second one is kept
    assert events[-1] == "click"
    assert events.count("open") == 3
    interactor.mask(IMAGE, Prompts.of([A], [B]))  # the first one was evicted
    assert events[-4:] == ["open", "close", "click", "click"]
    interactor.close()
    assert events.count("close") == 4


def test_an_image_is_sent_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    data = image_file(seed=31)
    exchange = recovery.Recovery._exchange

    def noted(self: Any, request: Any) -> Any:
        sent.append(len(request.open.image))
        return (yield from exchange(self, request))

    monkeypatch.setattr(recovery.Recovery, "_exchange", noted)
    interactor = Interactor(client, max_sessions=1)
    for point in (A, C, D):
        interactor.mask(data, Prompts.of([point], []))
    assert [size for size in sent if size] == [len(data)]


def test_coordinates_count_from_the_corner() -> None:
    points = [[0, 0], [0.99, 0.5], [1, 1], [159.99, 119.5]]
    pixels = [(x, y) for x, y, _ in Prompts.of(points, []).clicks(160, 120)]
    assert pixels == [(0, 0), (0, 0), (1, 1), (159, 119)]


def test_half_a_pixel_outside_is_the_pixel_at_the_edge() -> None:
    clicks = Prompts.of([[-0.4, 60]], [[160.2, 120.5]]).clicks(160, 120)
    assert clicks == [(0, 60, True), (159, 119, False)]


@pytest.mark.parametrize(
    ("positive", "negative", "message"),
    [
        ([], [], "there is no positive point"),
        ([], [[1, 1]], "there is no positive point"),
        (None, [], "pos_points must be a list"),
        ("12", [], "pos_points must be a list"),
        ([[1, 2, 3]], [], r"pos_points\[0\] must be \[x, y\]"),
        ([[1, 2]], [["a", 2]], r"neg_points\[0\] must be a number"),
        ([[1, float("nan")]], [], r"pos_points\[0\] must be a finite number"),
        ([[1, 10**400]], [], r"pos_points\[0\] must be a finite number"),
        ([[True, 1]], [], r"pos_points\[0\] must be a number"),
    ],
)
def test_points_that_are_none(positive: object, negative: object, message: str) -> None:
    with pytest.raises(EventError, match=message):
        Prompts.of(positive, negative)


def test_too_many_points() -> None:
    with pytest.raises(LimitError, match="at most 500 points, got 501"):
        Prompts.of([[1, 1]] * (MAX_POINTS + 1), None)


def test_a_point_outside_changes_nothing(client: Client, events: list[str]) -> None:
    interactor = Interactor(client)
    before = interactor.mask(IMAGE, Prompts.of([A], []))
    for point in ((160.6, 3), (-0.6, 3), (3, -1e9)):
        with pytest.raises(EventError, match=r"is outside the image of 160 x 120 pixels"):
            interactor.mask(IMAGE, Prompts.of([A], [point]))
    assert events == ["open", "click"]
    assert np.array_equal(interactor.mask(IMAGE, Prompts.of([A], [])), before)


def test_what_is_no_image(client: Client) -> None:
    with pytest.raises(ImageError):
        Interactor(client).mask(b"no image", Prompts.of([A], []))


def test_an_engine_that_goes_and_comes_back(bundle: Path, free_address: str) -> None:
    with (
        ServerProcess(bundle, address=free_address) as first,
        Client(free_address) as client,
    ):
        interactor = Interactor(client)
        interactor.mask(IMAGE, Prompts.of([A], []))
        first.kill()
        with pytest.raises(UnreachableError, match="no connection to a server at"):
            interactor.mask(IMAGE, Prompts.of([A], [B]))
        with ServerProcess(bundle, address=free_address):
            found = interactor.mask(IMAGE, Prompts.of([A], [B]))
            wanted = expected(client, (80, 60, True), (30, 20, False))
            interactor.close()
    assert np.array_equal(found, wanted)
