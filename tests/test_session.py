"""Click sessions: the mask is a function of the events in force, whatever came between."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakePredictor, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from clickcut.clicks import PlacedClick
from clickcut.errors import EventError, LimitError
from clickcut.images import prepare_pixels
from clickcut.region import Region
from clickcut.session import ClickSession
from clickcut.session import history as history_module
from clickcut.session import objects as objects_module
from clickcut.session import pipeline as pipeline_module
from clickcut.session.events import Prompts, SetParameters
from clickcut.session.history import UNDO_BYTES
from clickcut.session.pipeline import Pipeline
from clickcut.session.state import State

OBJECT, BOX, GROUND = (53, 60), (120, 48), (10, 10)
STATE_BYTES = 64 * 64 * 4 + 160 * 120 // 8
"""At least what a state of a session of `start` takes."""


ONE_LOOK = {"zoom": True, "expansion": 1.4, "min_side": 32, "max_looks": 1}
"""A region policy with one network pass for each click."""


REFINED = {"zoom": True, "expansion": 1.4, "min_side": 16, "refine": 0.5, "mirror": True}
"""Clicks are refined, and each prediction is averaged with the mirrored one."""

VIEWS = REFINED | {"narrow": 1.5, "mirror_views": [1.0, 1.3, 1.3]}
"""All options together, as in `accurate`."""

AS_DEFAULT = ONE_LOOK | {"max_looks": 3, "narrow": 1.5, "mirror": True, "mirror_views": [1.2]}
"""The options of `default`."""

SOMETIMES = VIEWS | {"mirror_from": 2, "mirror_depth": 0.5, "refine_from": 3, "refine_depth": 0.3}
"""Second predictions by the number of the click and by how deep it lies in what is wrong."""

POLICIES = pytest.mark.parametrize(
    "region",
    [
        ONE_LOOK | {"max_looks": 3},
        REFINED,
        ONE_LOOK | {"min_side": 16, "narrow": 1.5},
        AS_DEFAULT,
        VIEWS,
        SOMETIMES,
    ],
    ids=["plain", "refined", "narrow", "default", "views", "sometimes"],
)


def start(**changes):
    return ClickSession(prepare_pixels(picture()), FakePredictor(**changes))


def replayed(session):
    """The mask after the events in force of `session`, each on a pipeline that has kept nothing."""
    predictor = FakePredictor()
    predictor.metadata = session._pipeline._predictor.metadata
    state, parameters, events = State(), session._history._first_parameters, session.events
    for k, event in enumerate(events):
        if isinstance(event, SetParameters):
            parameters = event.parameters
        cold = Pipeline(session.image, predictor, "grid")
        state = cold.after(state, events[:k], event, parameters).state
    return state.selection.inside(Region(0, 0, 160, 120))


def test_a_click_selects_what_it_hits():
    session = start()
    step = session.click(*OBJECT)
    assert session.mask[OBJECT[1], OBJECT[0]]
    assert not session.mask[GROUND[1], GROUND[0]]
    assert step.changed == session.selection.box
    assert set(step.timings) == {"maps", "network", "cut"}
    assert session.num_clicks == 1


def test_the_mask_is_read_only():
    session = start()
    with pytest.raises(ValueError, match="read-only"):
        session.mask[0, 0] = True


actions = st.lists(
    st.one_of(
        st.tuples(st.just("click"), st.integers(0, 159), st.integers(0, 119), st.booleans()),
        st.tuples(st.sampled_from(["undo", "redo", "reset", "mask", "stroke"])),
        st.tuples(st.just("move"), st.integers(0, 6), st.integers(0, 159), st.integers(0, 119)),
        st.tuples(st.just("remove"), st.integers(0, 6)),
        st.tuples(
            st.just("box"),
            st.integers(0, 60),
            st.integers(0, 50),
            st.integers(60, 159),
            st.integers(50, 119),
        ),
        st.tuples(st.just("cut_lambda"), st.sampled_from([0.2, 1.0, 5.0])),
        st.tuples(st.just("cut_sigma"), st.sampled_from([0.0, 8.0])),
        st.tuples(st.just("cut"), st.booleans()),
        st.tuples(st.just("threshold"), st.sampled_from([0.3, 0.5])),
    ),
    min_size=1,
    max_size=12,
)


def perform(session, action):
    name, *rest = action
    if name == "click":
        session.click(*rest)
    elif name == "box":
        session.box(*rest)
    elif name == "stroke":
        session.stroke(np.array([(30.0, 50.0), (60.0, 70.0)]))
    elif name == "mask":
        mask = np.zeros((120, 160), bool)
        mask[30:70, 40:90] = True
        session.start_from(mask)
    elif name in ("move", "remove"):
        index, *place = rest
        if index < session.num_clicks and not (place and session.clicks[index].num_points > 1):
            getattr(session, f"{name}_click")(index, *place)
    elif name in ("undo", "redo"):
        if getattr(session, f"can_{name}"):
            getattr(session, name)()
    elif name == "reset":
        session.reset()
    else:
        session.set_parameters(**{name: rest[0]})


@POLICIES
@settings(deadline=None, max_examples=40)
@given(sequence=actions)
def test_the_mask_follows_from_the_events_in_force(region, sequence):
    session = start(region=region)
    for action in sequence:
        perform(session, action)
    np.testing.assert_array_equal(session.mask, replayed(session))


@POLICIES
@settings(deadline=None, max_examples=25)
@given(sequence=actions)
def test_undoing_everything_and_redoing_it_returns(region, sequence):
    session = start(region=region)
    for action in sequence:
        if action[0] not in ("undo", "redo"):
            perform(session, action)
    before = session.mask.copy()
    undone = 0
    while session.can_undo:
        session.undo()
        undone += 1
    assert not session.mask.any()
    for _ in range(undone):
        session.redo()
    assert not session.can_redo
    if not any(a[0] in ("cut", "cut_lambda", "cut_sigma", "threshold") for a in sequence):
        np.testing.assert_array_equal(session.mask, before)
    np.testing.assert_array_equal(session.mask, replayed(session))


@settings(deadline=None, max_examples=40)
@given(actions)
def test_the_list_of_clicks_follows_a_naive_model(sequence):
    session = start()
    before, clicks, after = [], [], []
    for name, *rest in sequence:
        undoable, then = True, list(clicks)
        if name == "click":
            then.append(PlacedClick(*rest))
        elif name == "stroke":
            then.append(PlacedClick(30, 50, True, 31))
        elif name in ("mask", "reset"):
            then = []
        elif name == "box":
            pass
        elif name == "move" and rest[0] < len(clicks) and clicks[rest[0]].num_points == 1:
            then[rest[0]] = PlacedClick(rest[1], rest[2], clicks[rest[0]].positive)
        elif name == "remove" and rest[0] < len(clicks):
            del then[rest[0]]
        else:
            undoable = False
        if name == "undo" and before:
            after.append(clicks)
            then = before.pop()
        elif name == "redo" and after:
            before.append(clicks)
            then = after.pop()
        elif undoable:
            before.append(clicks)
            after = []
        perform(session, (name, *rest))
        clicks = then
        assert session.clicks == clicks
        assert session.num_clicks == len(clicks)
        assert (session.can_undo, session.can_redo) == (bool(before), bool(after))


def test_a_moved_or_removed_click_counts_as_if_it_had_been_made_so():
    moved, made = start(), start()
    moved.click(*GROUND)
    moved.click(*BOX, positive=False)
    moved.click(OBJECT[0] + 8, OBJECT[1])
    moved.move_click(0, *OBJECT)
    made.click(*OBJECT)
    made.click(*BOX, positive=False)
    without = made.mask.copy()
    made.click(OBJECT[0] + 8, OBJECT[1])
    np.testing.assert_array_equal(moved.mask, made.mask)
    assert moved.clicks == made.clicks
    moved.remove_click(2)
    np.testing.assert_array_equal(moved.mask, without)
    moved.remove_click(0)
    moved.remove_click(0)
    assert not moved.mask.any()
    for _ in range(3):
        moved.undo()
    np.testing.assert_array_equal(moved.mask, made.mask)


def test_a_change_of_a_click_uses_states_that_are_known_and_few_passes(monkeypatch):
    session = start(region=ONE_LOOK)
    for k in range(6):
        session.click(40 + 5 * k, 60)
    predictor = session._pipeline._predictor
    before = len(predictor.batches)
    session.remove_click(5)
    assert len(predictor.batches) == before
    session.move_click(3, 50, 64)
    assert len(predictor.batches) == before + 2
    np.testing.assert_array_equal(session.mask, replayed(session))
    monkeypatch.setattr(pipeline_module, "MAX_REPLAYED", 3)
    monkeypatch.setattr(history_module, "MAX_REPLAYED", 3)
    before = len(predictor.batches)
    session.move_click(0, 42, 61)
    assert len(predictor.batches) == before + 3
    np.testing.assert_array_equal(session.mask, replayed(session))


def test_going_back_to_states_between_other_parameters_is_exact():
    """States held from under other parameters must not be taken for those of a replay."""
    session = start()
    for cut_lambda in (0.05, 5.0, 0.05):
        session.set_parameters(cut_lambda=cut_lambda)
        session.click(OBJECT[0] + int(3 * cut_lambda), OBJECT[1])
        session.click(40, int(50 + cut_lambda), positive=False)
    session.move_click(5, 41, 51)
    np.testing.assert_array_equal(session.mask, replayed(session))
    session.remove_click(5)
    np.testing.assert_array_equal(session.mask, replayed(session))


def test_clicks_that_are_not_there_and_strokes_cannot_be_moved():
    session = start()
    session.click(*OBJECT)
    session.stroke(np.array([(30.0, 50.0), (60.0, 70.0)]))
    mask, events = session.mask.copy(), session.events
    for action, message in (
        (lambda: session.move_click(2, *OBJECT), "no click 2: it has clicks 0 to 1"),
        (lambda: session.remove_click(10**30), "no click 1000"),
        (lambda: session.remove_click(-1), "non-negative integer"),
        (lambda: session.remove_click(True), "non-negative integer"),
        (lambda: session.remove_click(0.0), "non-negative integer"),
        (lambda: session.move_click("0", *OBJECT), "non-negative integer"),
        (lambda: session.move_click(1, *OBJECT), "is a stroke"),
        (lambda: session.move_click(0, 160, 0), "outside the image"),
        (lambda: session.move_click(0, float("nan"), 0), "finite"),
    ):
        with pytest.raises(EventError, match=message):
            action()
    np.testing.assert_array_equal(session.mask, mask)
    assert session.events == events
    session.remove_click(1)
    session.remove_click(np.int64(0))
    with pytest.raises(EventError, match="it has no clicks"):
        session.remove_click(0)


@POLICIES
def test_undo_works_beyond_the_states_that_are_kept(monkeypatch, region):
    session = start(region=region)
    masks = []
    refined = 64 * 64 * 2 if "refine" in region else 0
    monkeypatch.setattr(history_module, "UNDO_BYTES", 2 * (STATE_BYTES + refined))
    for k in range(6):
        masks.append(session.mask.copy())
        session.click(40 + 5 * k, 60)
    assert (
        sum(e.before is not None for e in session._history.entries) == 3
    )  # and the first, a checkpoint
    for mask in reversed(masks):
        session.undo()
        np.testing.assert_array_equal(session.mask, mask)


def test_going_far_back_computes_each_state_once(monkeypatch):
    monkeypatch.setattr(history_module, "UNDO_BYTES", 2 * STATE_BYTES)
    monkeypatch.setattr(history_module, "CHECKPOINTS", 8)
    session = start(region=ONE_LOOK)
    masks = []
    for k in range(40):
        masks.append(session.mask.copy())
        session.click(20 + 3 * k, 60)
        if k % 10 == 5:
            session.set_parameters(cut_lambda=0.5 + k / 40)
    session.set_parameters(cut_lambda=1.0)
    predictor = session._pipeline._predictor
    for _ in range(40):
        before = len(predictor.batches)
        session.undo()
        assert len(predictor.batches) - before <= 10
        np.testing.assert_array_equal(session.mask, replayed(session))
    assert len(predictor.batches) <= 80


def test_undo_past_a_reset_does_not_go_back_further(monkeypatch):
    monkeypatch.setattr(history_module, "UNDO_BYTES", STATE_BYTES)
    session = start(region=ONE_LOOK)
    for k in range(10):
        session.click(20 + 3 * k, 60)
    session.reset()
    for k in range(3):
        session.click(100 + 3 * k, 48)
    predictor = session._pipeline._predictor
    session.undo()
    before = len(predictor.batches)
    session.undo()
    assert len(predictor.batches) - before <= 2
    np.testing.assert_array_equal(session.mask, replayed(session))


def test_initial_masks_are_limited(monkeypatch):
    monkeypatch.setattr(history_module, "MAX_MASKS", 2)
    session = start()
    for _ in range(2):
        session.start_from(np.ones((120, 160), bool))
    session.undo()
    with pytest.raises(LimitError, match="at most 2 initial masks"):
        session.start_from(np.ones((120, 160), bool))


def test_undo_and_redo_with_nothing_to_do_are_errors():
    session = start()
    with pytest.raises(EventError, match="nothing to undo"):
        session.undo()
    with pytest.raises(EventError, match="nothing to redo"):
        session.redo()
    session.click(*OBJECT)
    session.undo()
    session.click(*OBJECT)
    with pytest.raises(EventError, match="nothing to redo"):
        session.redo()


def test_parameters_stay_when_clicks_are_taken_back():
    session = start()
    session.click(*OBJECT)
    session.set_parameters(cut_lambda=0.3)
    session.undo()
    assert session.parameters.cut_lambda == 0.3
    assert not session.can_undo
    assert not session.mask.any()


def test_a_moving_slider_does_not_grow_the_event_list():
    session = start()
    session.click(*OBJECT)
    for k in range(1, 50):
        session.set_parameters(cut_lambda=k / 10)
    assert len(session.events) == 2


def test_a_failing_event_leaves_everything_as_it_was():
    session = start()
    session.click(*OBJECT)
    mask, events = session.mask.copy(), session.events

    def broken(batch):
        raise RuntimeError("no")

    works, session._pipeline._predictor.predict = session._pipeline._predictor.predict, broken
    for action in (lambda: session.click(*BOX), lambda: session.redo()):
        with pytest.raises((RuntimeError, EventError)):
            action()
    for action in (
        lambda: session.click(-5, 3),
        lambda: session.click(float("nan"), 3),
        lambda: session.stroke(np.zeros((0, 2))),
        lambda: session.stroke([("a", 5)]),
        lambda: session.stroke(None),
        lambda: session.start_from(np.zeros((3, 3), bool)),
        lambda: session.set_parameters(cut_lambda=-1.0),
        lambda: session.set_parameters(sharpness=1.0),
        lambda: session.set_parameters(threshold=float("nan")),
        lambda: session.set_parameters(cut=3.0),
    ):
        with pytest.raises(EventError):
            action()
    np.testing.assert_array_equal(session.mask, mask)
    assert session.events == events
    session._pipeline._predictor.predict = works
    session.click(*BOX)
    np.testing.assert_array_equal(session.mask, replayed(session))


def test_an_initial_mask_is_shown_as_given_and_then_repaired():
    session = start()
    mask = np.zeros((120, 160), bool)
    mask[40:80, 30:70] = True
    session.start_from(mask)
    np.testing.assert_array_equal(session.mask, mask)
    assert session.num_clicks == 0
    session.click(*OBJECT)
    seen = session._pipeline._predictor.batches[-1][0, 5]
    assert seen.max() == 1
    assert 0.1 < seen.mean() < 0.9
    session.undo()
    np.testing.assert_array_equal(session.mask, mask)
    session.undo()
    assert not session.mask.any()


def test_a_box_selects_what_is_in_it_and_counts_as_drawn_first():
    session, other = start(), start()
    session.box(30, 30, 77, 90)
    assert session.mask[OBJECT[1], OBJECT[0]]
    assert not session.mask[BOX[1], BOX[0]]
    assert session.num_clicks == 0
    session.click(OBJECT[0] + 9, OBJECT[1])
    clicked = session.mask.copy()
    other.click(OBJECT[0] + 9, OBJECT[1])
    other.box(5, 5, 20, 20)
    other.box(30, 30, 77, 90)
    np.testing.assert_array_equal(other.mask, clicked)
    np.testing.assert_array_equal(other.mask, replayed(other))
    other.undo()
    other.undo()
    alone = start()
    alone.click(OBJECT[0] + 9, OBJECT[1])
    np.testing.assert_array_equal(other.mask, alone.mask)
    other.undo()
    assert not other.mask.any()
    session.reset()
    assert not session.mask.any()


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((5, 5, float("nan"), 9), "finite"),
        ((5, 5, 9, float("inf")), "finite"),
        ((9, 5, 5, 9), "x0 <= x1"),
        ((5, 9, 9, 5), "x0 <= x1"),
        ((-0.6, 0, 5, 5), "beyond the image"),
        ((0, 0, 159.6, 5), "beyond the image"),
        ((0, 0, 5, 1e300), "beyond the image"),
        ((5.2, 5, 5.8, 9), "no pixel centre"),
    ],
)
def test_boxes_that_cannot_be_are_refused(box, message):
    session = start()
    session.click(*OBJECT)
    mask = session.mask.copy()
    with pytest.raises(EventError, match=message):
        session.box(*box)
    np.testing.assert_array_equal(session.mask, mask)
    assert len(session.events) == 1


@pytest.mark.parametrize("box", [(-0.5, -0.5, 159.5, 119.5), (0, 0, 0, 0), (159, 0, 159, 119)])
def test_boxes_at_the_edge_of_the_image(box):
    session = start()
    session.box(*box)
    session.click(*OBJECT)
    assert session.mask[OBJECT[1], OBJECT[0]]


def discs():
    """Two touching discs of one colour, and where they are."""
    pixels = np.full((120, 160, 3), 60, np.uint8)
    y, x = np.mgrid[:120, :160]
    large = (x - 60) ** 2 + (y - 60) ** 2 <= 35**2
    small = (x - 112) ** 2 + (y - 60) ** 2 <= 17**2
    pixels[large | small] = (200, 180, 90)
    noise = np.random.default_rng(0).integers(-12, 13, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8), large, small


def test_finished_objects_can_be_excluded():
    pixels, large, small = discs()
    session = ClickSession(prepare_pixels(pixels), FakePredictor())
    session.start_from(large)
    session.next_object()
    session.click(112, 60)
    assert (session.mask & large).any()  # as if the other disc were not taken
    session.reset()
    session.edit_object(0)
    session.next_object(exclude_finished=True)
    for action in (
        lambda: session.click(60, 60),
        lambda: session.stroke([(40, 60), (70, 60)]),
    ):
        with pytest.raises(EventError, match="excluded"):
            action()
    session.click(112, 60)
    assert not (session.mask & large).any()
    assert (session.mask & small).sum() / (session.mask | small).sum() > 0.6
    with pytest.raises(EventError, match="excluded"):
        session.move_click(0, 60, 60)
    session.stroke(np.array([(80.0, 60.0), (112.0, 60.0)]))  # a part of it lies on the other disc
    session.click(60, 60, positive=False)
    session.box(70, 20, 140, 100)
    session.set_parameters(cut=False)
    session.undo()
    assert not (session.mask & large).any()
    session.start_from(large | small)
    np.testing.assert_array_equal(session.mask, small & ~large)
    session.undo()
    np.testing.assert_array_equal(session.mask, replayed(session))
    session.reset()
    session.click(112, 60)
    assert not (session.mask & large).any()


def test_an_object_that_is_edited_again_may_exclude_the_others():
    pixels, _, small = discs()
    session = ClickSession(prepare_pixels(pixels), FakePredictor())
    session.click(60, 60)
    assert (session.mask & small).any()
    everything = session.mask.copy()
    session.next_object()
    session.start_from(small)
    session.edit_object(0)
    np.testing.assert_array_equal(session.mask, everything)
    step = session.edit_object(0, exclude_finished=True)
    assert step.changed is not None
    assert not (session.mask & small).any()
    assert session.edit_object(0, exclude_finished=True).changed is None
    np.testing.assert_array_equal(session.mask, replayed(session))
    session.undo()
    session.redo()
    np.testing.assert_array_equal(session.mask, replayed(session))
    assert not (session.mask & small).any()


object_actions = st.lists(
    st.one_of(
        st.tuples(st.just("click"), st.integers(0, 159), st.integers(0, 119), st.booleans()),
        st.tuples(st.just("next"), st.booleans()),
        st.tuples(st.just("edit"), st.integers(0, 3), st.booleans()),
        st.tuples(st.sampled_from(["undo", "redo", "reset"])),
        st.tuples(st.just("cut_lambda"), st.sampled_from([0.2, 1.0, 5.0])),
    ),
    min_size=3,
    max_size=14,
)


@settings(deadline=None, max_examples=40)
@given(object_actions)
def test_objects_stay_as_they_were_left(sequence):
    session = start()
    left = {0: session.mask.copy()}
    for name, *rest in sequence:
        if name == "next":
            session.next_object(*rest)
        elif name == "edit":
            if rest[0] < len(left):
                session.edit_object(rest[0])
                np.testing.assert_array_equal(session.mask, left[rest[0]])
                session.edit_object(*rest)
        else:
            excluded = Prompts.of(session.events).excluded
            if name == "click" and rest[2] and excluded.contains(*rest[:2]):
                with pytest.raises(EventError, match="excluded"):
                    perform(session, (name, *rest))
            else:
                perform(session, (name, *rest))
        left[session.object_index] = session.mask.copy()
        np.testing.assert_array_equal(session.mask, replayed(session))
        excluded = Prompts.of(session.events).excluded.inside(Region(0, 0, 160, 120))
        assert not (session.mask & excluded).any()
    found = session.objects()
    assert [o.index for o in found] == list(range(session.num_objects)) == sorted(left)
    for item in found:
        mask = item.selection.inside(Region(0, 0, 160, 120))
        np.testing.assert_array_equal(mask, left[item.index])
    assert found[session.object_index].num_clicks == session.num_clicks


def test_an_object_keeps_its_clicks_parameters_undo_and_redo():
    session = start()
    session.click(*OBJECT)
    session.click(*GROUND, positive=False)
    session.set_parameters(cut_lambda=0.3)
    session.undo()
    first, clicks = session.mask.copy(), session.clicks
    session.next_object()
    session.set_parameters(cut_lambda=5.0)
    session.click(*BOX)
    second = session.mask.copy()
    step = session.edit_object(0)
    assert step.changed is not None
    np.testing.assert_array_equal(session.mask, first)
    assert (session.object_index, session.num_objects) == (0, 2)
    assert session.clicks == clicks
    assert session.can_redo
    assert session.parameters.cut_lambda == 0.3
    session.redo()
    session.undo()
    session.undo()
    assert not session.mask.any()
    session.edit_object(1)
    np.testing.assert_array_equal(session.mask, second)
    assert session.parameters.cut_lambda == 5.0
    session.next_object()
    assert (session.object_index, session.num_objects) == (2, 3)
    for index in (3, 10**30, -1, True, "0"):
        with pytest.raises(EventError):
            session.edit_object(index)


def test_objects_are_counted_and_limited(monkeypatch):
    session = start()
    session.stroke(np.array([(0.0, 0.0), (159.0, 119.0), (0.0, 119.0)]))
    before = session.nbytes
    session.next_object()
    held = session.nbytes
    assert held > 300 * 8
    assert held < before
    monkeypatch.setattr(objects_module, "MAX_OBJECT_BYTES", 2000)
    with pytest.raises(LimitError, match="finished objects"):
        session.next_object()
    monkeypatch.setattr(objects_module, "MAX_OBJECT_BYTES", 2**20)
    monkeypatch.setattr(objects_module, "MAX_OBJECTS", 3)
    session.next_object()
    with pytest.raises(LimitError, match="at most 3 objects"):
        session.next_object()
    assert session.object_index == 2


def test_several_objects_on_one_image():
    session = start()
    session.click(*OBJECT)
    first = session.mask.copy()
    step = session.next_object()
    assert step.changed is not None
    assert not session.mask.any()
    assert (session.object_index, session.num_clicks, session.can_undo) == (1, 0, False)
    session.click(*BOX)
    assert session.mask[BOX[1], BOX[0]]
    assert not (session.mask & first).any()
    alone = start()
    alone.click(*BOX)
    np.testing.assert_array_equal(session.mask, alone.mask)


def test_the_other_sign_on_the_same_pixel_replaces_the_click():
    session = start()
    session.click(*OBJECT)
    session.click(*OBJECT, positive=False)
    assert not session.mask[OBJECT[1], OBJECT[0]]
    session.undo()
    assert session.mask[OBJECT[1], OBJECT[0]]


def test_seed_discs_hold():
    session = start()
    session.click(*GROUND)
    session.click(*BOX, positive=False)
    y, x = np.mgrid[:120, :160]
    assert session.mask[(x - GROUND[0]) ** 2 + (y - GROUND[1]) ** 2 <= 9].all()
    assert not session.mask[(x - BOX[0]) ** 2 + (y - BOX[1]) ** 2 <= 9].any()


def test_the_network_sees_a_region_after_the_first_click():
    session = start(region=ONE_LOOK)
    session.click(*OBJECT)
    assert session.probability[0].area == 160 * 120
    session.click(OBJECT[0] + 3, OBJECT[1])
    region, values = session.probability
    assert region.area < 160 * 120
    assert values.shape == (64, 64)
    assert values.min() >= 0
    assert values.max() <= 1


def test_clicks_on_the_background_do_not_enlarge_the_region():
    for hold, expected in ((False, False), (True, True)):
        session = start(region=ONE_LOOK | {"hold_negative": hold})
        session.click(*OBJECT)
        session.click(157, 117, positive=False)
        region, _ = session.probability
        assert region.holds(157, 117) == expected
        if not hold:  # the network is shown no click that lies elsewhere
            assert not session._pipeline._predictor.batches[-1][0, 4].any()


def test_a_small_selection_is_looked_at_again_closer():
    counts, areas = [], []
    for closer_below in (0.0, 0.5):
        session = start(region=ONE_LOOK | {"max_looks": 2, "closer_below": closer_below})
        session.click(*BOX)
        counts.append(len(session._pipeline._predictor.batches))
        areas.append(session.probability[0].area)
        session.click(BOX[0] + 2, BOX[1], positive=False)
        session.undo()
        session.redo()
        np.testing.assert_array_equal(session.mask, replayed(session))
    assert counts == [1, 2]
    assert areas[1] < 0.5 * areas[0] == 0.5 * 160 * 120


def test_a_very_long_image_is_seen_in_part_first():
    session = ClickSession(prepare_pixels(picture(1600, 100)), FakePredictor())
    session.click(1500, 50)
    region, _ = session.probability
    assert region.width <= 400
    assert region.holds(1500, 50)


def test_a_model_without_previous_probability_and_zoom():
    session = start(
        channels=("red", "green", "blue", "positive", "negative"),
        guidance={"encoding": "distance", "radius": 0},
        region={"zoom": False, "expansion": 1.0, "min_side": 16},
    )
    predictor = session._pipeline._predictor
    predictor._logits = lambda x: 2 - x[3] / 10
    session.click(*OBJECT)
    session.click(*BOX)
    assert session.probability[0].area == 160 * 120
    assert predictor.batches[-1].shape == (1, 5, 64, 64)
    assert predictor.batches[-1][0, 4].min() == 255
    assert session.mask[OBJECT[1], OBJECT[0]]
    assert session.mask[BOX[1], BOX[0]]


@pytest.mark.slow
def test_a_thousand_clicks():
    session = start()
    rng = np.random.default_rng(0)
    for x, y in rng.integers(0, (160, 120), (1000, 2)):
        session.click(int(x), int(y), bool(picture()[y, x].sum() > 250))
    assert session.num_clicks == 1000
    assert session.nbytes < 20e6


def test_points_that_were_reset_or_undone_are_limited_too(monkeypatch):
    monkeypatch.setattr(history_module, "MAX_HELD_POINTS", 100)
    session = start()
    line = np.array([(0.0, 0.0), (44.0, 0.0)])
    session.stroke(line)
    session.reset()
    session.stroke(line)
    session.undo()
    session.redo()
    session.undo()
    with pytest.raises(LimitError, match="at most 100 clicked pixels, those reset or undone"):
        session.stroke(line)
    session.click(*OBJECT)


def test_limits(monkeypatch):
    monkeypatch.setattr(history_module, "MAX_EVENTS", 2)
    session = start()
    session.click(*OBJECT)
    session.click(*BOX)
    with pytest.raises(LimitError, match="at most 2 events"):
        session.click(*GROUND)
    monkeypatch.setattr(history_module, "MAX_EVENTS", 100)
    monkeypatch.setattr(history_module, "MAX_POINTS", 50)
    with pytest.raises(LimitError, match="at most 50 clicked pixels"):
        session.stroke(np.array([(0.0, 0.0), (49.0, 0.0)]))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20, 3000), (3000, 20), (2, 2)])
def test_odd_image_sizes(width, height):
    pixels = np.zeros((height, width, 3), np.uint8)
    session = ClickSession(prepare_pixels(pixels), FakePredictor())
    session.click(width - 1, height - 1)
    assert session.mask[height - 1, width - 1]
    session.click(0, 0, positive=False)
    assert not session.mask[0, 0]


def test_all_that_is_kept_is_counted():
    session = start()
    counted = [session.nbytes]
    session.stroke(np.array([(0.0, 0.0), (159.0, 119.0), (0.0, 119.0)]))
    counted.append(session.nbytes)
    session.reset()
    session.start_from(np.ones((120, 160), bool))
    counted.append(session.nbytes)
    assert counted[1] - counted[0] > 300 * 8
    assert counted[2] - counted[1] > 160 * 120 // 8
    for undo in (True, True, True, False, False, False):
        (session.undo if undo else session.redo)()
        assert session.nbytes >= counted[0] + 300 * 8 + 160 * 120 // 8


def test_states_for_undo_are_bounded_in_bytes():
    session = ClickSession(prepare_pixels(picture()), FakePredictor(input_size=512))
    for k in range(12):
        session.click(20 + 5 * k, 60)
    assert (
        session._history.nbytes < UNDO_BYTES + 512 * 512 * 4
    )  # and the checkpoint, which is empty
    assert session.nbytes < 6e6


def test_sessions_of_one_thread_share_an_input_and_stay_apart():
    one, two = start(), start(guidance={"encoding": "distance", "radius": 0})
    two._pipeline._predictor._logits = lambda x: 2 - x[3] / 10
    other = ClickSession(prepare_pixels(picture(seed=3)), FakePredictor())
    for k in range(4):
        for session in (one, two, other):
            session.click(40 + 9 * k, 60 - 5 * k, k != 2)
    for session in (one, other):
        np.testing.assert_array_equal(session.mask, replayed(session))
