"""`SamPredictor`: the calls that Segment Anything's predictor takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server.harness import ServerProcess, picture

import clickcut
from clickcut import SamPredictor
from clickcut.api.local_session import LocalSession
from clickcut.client import Client
from clickcut.errors import EventError, ImageError

HEIGHT, WIDTH = 120, 160


@pytest.fixture(params=["here", "on a server"])
def predictor(
    request: pytest.FixtureRequest, bundle: Path, server: ServerProcess
) -> Iterator[SamPredictor]:
    if request.param == "here":
        yield SamPredictor(str(bundle))
        return
    with Client(server.address) as client:
        yield SamPredictor(client=client)


def in_session(bundle: Path, *events: tuple[Any, ...]) -> LocalSession:
    session = clickcut.open(picture(), model=str(bundle))
    for name, *arguments in events:
        getattr(session, name)(*arguments)
    return session


def test_points_give_a_session_s_mask(predictor: SamPredictor, bundle: Path) -> None:
    assert not predictor.is_image_set
    predictor.set_image(picture())
    assert predictor.is_image_set
    assert predictor.original_size == (HEIGHT, WIDTH)
    masks, scores, low_res = predictor.predict(np.array([[80, 60], [20, 20]]), np.array([1, 0]))
    wanted = in_session(bundle, ("click", 80, 60), ("click", 20, 20, False))
    assert masks.dtype == np.bool_
    np.testing.assert_array_equal(masks, wanted.mask[None])
    assert (scores.shape, scores.dtype) == ((1,), np.float32)
    assert 0 < scores[0] <= 1
    assert (low_res.shape, low_res.dtype) == ((1, 256, 256), np.float32)
    assert (low_res[0, 192:] < 0).all()  # 160 x 120 fills 256 x 192
    logits, _, _ = predictor.predict(
        np.array([[80, 60], [20, 20]]), np.array([1, 0]), return_logits=True
    )
    assert (logits.shape, logits.dtype) == ((1, HEIGHT, WIDTH), np.float32)
    np.testing.assert_array_equal(logits[0] > 0, wanted.probability() > 0.5)
    predictor.reset_image()
    assert not predictor.is_image_set
    with pytest.raises(EventError, match="set_image"):
        predictor.predict(np.array([[80, 60]]), np.array([1]))


def test_points_that_extend_the_last_call_reuse_the_session(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[float, float]] = []
    real = LocalSession.click

    def click(self: LocalSession, x: float, y: float, positive: bool = True) -> Any:
        made.append((x, y))
        return real(self, x, y, positive)

    monkeypatch.setattr(LocalSession, "click", click)
    predictor = SamPredictor(str(bundle))
    predictor.set_image(picture())
    points, labels = np.array([[80, 60], [20, 20], [100, 30]]), np.array([1, 0, 1])
    for count in (1, 2, 2, 3):
        masks, _, low_res = predictor.predict(points[:count], labels[:count])
    assert made == [(80, 60), (20, 20), (100, 30)]
    # The last answer given back as mask_input, as is usual, goes on as well.
    more = np.vstack((points, [[60, 90]])), np.append(labels, 0)
    again, _, _ = predictor.predict(*more, mask_input=low_res)
    assert made[3:] == [(60, 90)]
    events = [("click", *p, bool(s)) for p, s in zip(more[0].tolist(), more[1], strict=True)]
    np.testing.assert_array_equal(masks[0], in_session(bundle, *events[:3]).mask)
    np.testing.assert_array_equal(again[0], in_session(bundle, *events).mask)
    # Others begin from nothing.
    made.clear()
    other, _, _ = predictor.predict(points[1:], 1 - labels[1:])
    assert made == [(20, 20), (100, 30)]
    wanted = in_session(bundle, ("click", 20, 20), ("click", 100, 30, False))
    np.testing.assert_array_equal(other[0], wanted.mask)


def test_a_box(predictor: SamPredictor, bundle: Path) -> None:
    predictor.set_image(picture())
    box = (30, 20, 120, 90)
    for shaped in (np.array(box), np.array([box]), list(box)):
        masks, _, _ = predictor.predict(box=shaped)
        np.testing.assert_array_equal(masks[0], in_session(bundle, ("box", *box)).mask)
    masks, _, _ = predictor.predict(np.array([[50, 50]]), np.array([0]), box=np.array(box))
    wanted = in_session(bundle, ("box", *box), ("click", 50, 50, False))
    np.testing.assert_array_equal(masks[0], wanted.mask)


def test_a_mask_to_start_from(predictor: SamPredictor, bundle: Path) -> None:
    predictor.set_image(picture())
    low_res = np.full((1, 256, 256), -5, np.float32)
    low_res[0, 48:112, 64:176] = 5  # rows 30..70, columns 40..110 of the image
    masks, _, _ = predictor.predict(mask_input=low_res)
    start = np.zeros((HEIGHT, WIDTH), np.bool_)
    start[30:70, 40:110] = True
    assert (masks[0] & start).sum() / (masks[0] | start).sum() > 0.95
    masks, _, _ = predictor.predict(np.array([[100, 30]]), np.array([1]), mask_input=low_res)
    np.testing.assert_array_equal(
        masks[0], in_session(bundle, ("start_from", start), ("click", 100, 30)).mask
    )


def test_the_order_of_colours(bundle: Path) -> None:
    predictor = SamPredictor(str(bundle))
    predictor.set_image(picture())
    first, _, _ = predictor.predict(np.array([[80, 60]]), np.array([1]))
    predictor.set_image(picture()[..., ::-1], image_format="BGR")
    second, _, _ = predictor.predict(np.array([[80, 60]]), np.array([1]))
    np.testing.assert_array_equal(first, second)


ONE = np.array([[80, 60]])
BAD: list[dict[str, Any]] = [
    {},
    {"point_coords": ONE},
    {"point_labels": np.array([1])},
    {"point_coords": ONE, "point_labels": np.array([2])},
    {"point_coords": ONE, "point_labels": np.array([1, 0])},
    {"point_coords": ONE[0], "point_labels": np.array([1])},
    {"point_coords": ONE * 100, "point_labels": np.array([1])},
    {"point_coords": [["a", "b"]], "point_labels": [1]},
    {"point_coords": ONE, "point_labels": np.array([-1])},
    {"box": np.array([1, 2, 3])},
    {"box": np.array([1, 2, np.nan, 4])},
    {"mask_input": np.zeros((1, 64, 64))},
    {"mask_input": np.full((1, 256, 256), np.nan)},
]


def test_what_is_refused_leaves_the_image(bundle: Path) -> None:
    predictor = SamPredictor(str(bundle))
    for image in (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(ImageError):
            predictor.set_image(image)
    with pytest.raises(ImageError, match="image_format"):
        predictor.set_image(picture(), image_format="HSV")
    predictor.set_image(picture())
    wanted, _, _ = predictor.predict(ONE, [1])
    for arguments in BAD:
        with pytest.raises(EventError):
            predictor.predict(**arguments)
        again, _, _ = predictor.predict(ONE, [1])
        np.testing.assert_array_equal(again, wanted)
