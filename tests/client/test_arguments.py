"""Arguments of the clients' methods: what is taken, and what is refused before it is sent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from client.test_hostile_server import FakeServer
from hypothesis import given
from hypothesis import strategies as st
from server.harness import image_file

from clickcut.client import AsyncClient, Client
from clickcut.client.arguments import click_message, parameters_message, segment_request
from clickcut.errors import ClickcutError, EventError

NOT_NUMBERS = [None, "a", "5", True, np.True_, [5], (5, 5), np.zeros(2), np.zeros((1, 1)), {}, 5j]
NOT_FINITE = [float("nan"), float("inf"), -float("inf"), np.float32("nan"), 10**400]


@pytest.mark.parametrize("value", [*NOT_NUMBERS, *NOT_FINITE], ids=repr)
def test_what_is_no_coordinate(value: Any) -> None:
    for x, y in ((value, 5), (5, value)):
        with pytest.raises(EventError, match=r"[xy] of a click must be a (finite )?number, got"):
            click_message(x, y)


@pytest.mark.parametrize(
    "value", [5, 5.0, np.int64(5), np.uint8(5), np.float32(5), np.array(5), np.array(5.0)]
)
def test_what_is_a_coordinate(value: Any) -> None:
    assert click_message(value, value).x == 5


@pytest.mark.parametrize("sign", [None, 1, "yes", 0.0, np.zeros(2, np.bool_)], ids=repr)
def test_what_is_no_sign(sign: Any) -> None:
    with pytest.raises(EventError, match="positive must be True or False"):
        click_message(5, 5, sign)


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@pytest.mark.slow
@given(anything, anything)
def test_anything_is_a_message_or_an_event_error(clicks: Any, parameters: Any) -> None:
    for make in (
        lambda: segment_request(clicks, parameters, None, "", None),
        lambda: segment_request([], None, clicks, "", None),
        lambda: segment_request([], None, None, clicks, None),
        lambda: parameters_message(parameters),
        lambda: click_message(clicks, parameters),
    ):
        with contextlib.suppress(EventError):
            make()


BAD_CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no x": (lambda s: s.click(None, 5), "x of a click must be a number, got NoneType None"),
    "a text": (lambda s: s.click("a", 5), "got str 'a'"),
    "a bool": (lambda s: s.click(True, 5), "got bool True"),
    "a sign": (lambda s: s.click(5, 5, "-"), "positive must be True or False"),
    "a flat stroke": (lambda s: s.stroke([1, 2, 3]), r"\(N, 2\)"),
    "a ragged stroke": (lambda s: s.stroke([(1, 2), (3,)]), r"\(N, 2\)"),
    "a stroke of texts": (lambda s: s.stroke([("a", "b")]), r"\(N, 2\)"),
    "a stroke of nothing": (lambda s: s.stroke(None), r"\(N, 2\)"),
    "an empty stroke": (lambda s: s.stroke(np.zeros((0, 2))), "1 to 50000"),
    "a stroke that is not finite": (lambda s: s.stroke([(1, float("nan"))]), "finite"),
    "a box of nothing": (lambda s: s.box(None, 1, 2, 3), "x0 of a box must be a number"),
    "a box of texts": (lambda s: s.box(1, 2, 3, "a"), "y1 of a box must be a number"),
    "a moved click": (lambda s: s.move_click(0, None, 3), "x of a click must be a number"),
    "no flag": (lambda s: s.next_object("yes"), "exclude_finished must be True or False"),
    "a mask of texts": (lambda s: s.start_from(np.array([["a"]])), r"\(H, W\)"),
    "no mask": (lambda s: s.start_from(None), r"\(H, W\)"),
    "a parameter as text": (lambda s: s.set_parameters(threshold="0.5"), "threshold must be a"),
    "a flag as number": (lambda s: s.set_parameters(cut=1), "cut must be True or False"),
}


def test_a_bad_argument_is_refused_before_anything_is_sent() -> None:
    with FakeServer() as server, Client(server.address) as client:
        session = client.open(image_file())
        before = len(server.received)
        for name, (call, message) in BAD_CALLS.items():
            with pytest.raises(EventError, match=message):
                call(session)
            assert len(server.received) == before, name
        session.click(np.float32(5), np.int64(5), np.True_)
        assert server.received[-1].click.x == 5


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "words",
    [
        {"address": None},
        {"address": ""},
        {"address": "a\nb:1"},
        {"address": "localhost"},
        {"address": "http://localhost:50051"},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": "5"},
        {"timeout": True},
        {"retry_seconds": -1},
        {"retry_seconds": None},
        {"keepalive_seconds": 0},
        {"keepalive_seconds": float("inf")},
        {"keepalive_seconds": "5"},
    ],
    ids=repr,
)
def test_arguments_of_a_client(kind: Any, words: dict[str, Any]) -> None:
    with pytest.raises(ClickcutError, match=r"address|seconds|timeout"):
        kind(**words)


@pytest.mark.parametrize("model", [None, 7, b"default", "m\udce9"], ids=repr)
def test_a_model_s_name_is_text(model: Any) -> None:
    with FakeServer() as server, Client(server.address) as client:
        with pytest.raises(EventError, match="model must be"):
            client.open(image_file(), model=model)
        with pytest.raises(EventError, match="model must be"):
            client.segment(image_file(), [(5, 5)], model=model)
