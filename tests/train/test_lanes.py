"""The samples of a run do not depend on how it is divided, nor on the speed of threads."""

from __future__ import annotations

import time

import numpy as np
import pytest
from train_cases import config, data

from clickcut_train.data import order
from clickcut_train.errors import CheckpointError, DataError
from clickcut_train.lanes import Lanes, fresh_samples, lanes_of
from clickcut_train.samples import draw

SETTINGS = config()
BATCH, PER_LANE = 4, 2


@pytest.fixture
def fresh():
    return fresh_samples(data().train, SETTINGS.samples, 64, BATCH, seed=3)


def lanes(fresh, indices=range(BATCH), workers=1, next_click_probability=0.7, refine=0.0):
    return Lanes(fresh, indices, PER_LANE, 3, next_click_probability, workers, refine)


def answers(samples, step):
    """What a network would say: depends on each sample alone, and is wrong along the outline."""
    out = []
    for s in samples:
        rng = np.random.default_rng([step, len(s.positive), int(s.image.sum())])
        near = np.roll(s.target, 9, axis=1)
        out.append(np.clip(near * 0.8 + rng.random(s.target.shape) * 0.5 - 0.1, 0, 1))
    return np.stack(out).astype(np.float32)


def trace(group, steps, first=0):
    """What a group shows to the network, step by step and lane by lane."""
    seen = []
    for step in range(first, first + steps):
        samples = group.choose()
        seen.append([(int(s.image.sum()), list(s.positive), list(s.negative)) for s in samples])
        group.advance(answers(samples, step))
    return seen


def test_lanes_divide_the_batch():
    assert [list(lanes_of(r, 2, 6)) for r in (0, 1)] == [[0, 1, 2], [3, 4, 5]]
    assert list(lanes_of(0, 1, 3)) == [0, 1, 2]


def test_fresh_sample_k_of_lane_j_is_what_the_text_says(fresh):
    photos = data().train
    numbers = order(photos, 3)
    for lane, k in ((0, 0), (2, 5), (3, 1)):
        at, sample = fresh(lane, k)
        expected = draw(
            photos.photo(numbers[at * BATCH + lane]),
            64,
            SETTINGS.samples,
            np.random.default_rng([3, lane, at]),
        )
        assert at >= k
        np.testing.assert_array_equal(sample.image, expected.image)
        assert sample.positive == expected.positive


def test_several_processes_see_what_one_sees(fresh):
    whole = lanes(fresh)
    whole.begin()
    parts = [lanes(fresh, lanes_of(r, 2, BATCH)) for r in (0, 1)]
    for part in parts:
        part.begin()
    expected = trace(whole, 8)
    halves = [trace(part, 8) for part in parts]
    assert [a + b for a, b in zip(*halves, strict=True)] == expected
    for group in (whole, *parts):
        group.close()


def test_slow_threads_change_nothing(fresh):
    def slow(lane, k):
        time.sleep(0.002 * (lane % 3))
        return fresh(lane, k)

    groups = [lanes(fresh), lanes(slow, workers=3)]
    for group in groups:
        group.begin()
    assert trace(groups[0], 8) == trace(groups[1], 8)
    for group in groups:
        group.close()


def test_a_restored_group_goes_on_as_the_first_one(fresh):
    group = lanes(fresh)
    group.begin()
    trace(group, 6)
    state = group.state()
    expected = trace(group, 6, first=6)
    again = lanes(fresh)
    again.restore(state)
    assert trace(again, 6, first=6) == expected
    divided = [lanes(fresh, lanes_of(r, 2, BATCH)) for r in (0, 1)]
    for part in divided:
        part.restore(state)
    halves = [trace(part, 6, first=6) for part in divided]
    assert [a + b for a, b in zip(*halves, strict=True)] == expected
    for each in (group, again, *divided):
        each.close()


def test_sessions_end_after_about_as_many_corrections_as_wanted(fresh):
    never = lanes(fresh, next_click_probability=0.0)
    never.begin()
    before = [s.k for lane in never.lanes for s in lane.sessions]
    trace(never, 10)
    after = [s.k for lane in never.lanes for s in lane.sessions]
    assert max(after) >= max(before) + 9  # every step took a fresh sample in every lane
    never.close()


def test_other_data_are_noticed_when_a_run_goes_on(fresh):
    group = lanes(fresh)
    group.begin()
    state = group.state()
    group.close()
    again = lanes(fresh)
    with pytest.raises(CheckpointError, match="samplers do not fit"):
        again.restore({k: v for k, v in state.items() if k != 2})
    state[1]["probability"][0] = state[1]["probability"][0][:3]
    with pytest.raises(CheckpointError, match="damaged"):
        again.restore(state)
    again.close()
    moved = lanes(lambda lane, k: fresh(lane, k + 1))
    with pytest.raises(CheckpointError, match="not those that the run began with"):
        moved.restore(state)
    moved.close()


def test_photographs_without_a_usable_object_are_an_error_not_an_endless_loop(monkeypatch):
    monkeypatch.setattr("clickcut_train.lanes.draw", lambda *_: None)
    group = lanes(fresh_samples(data().train, SETTINGS.samples, 64, BATCH, 0))
    with pytest.raises(DataError, match="photographs in a row"):
        group.begin()
    group.close()


def test_sessions_that_look_closer_go_on_exactly_after_a_restore(fresh):
    group = lanes(fresh, refine=0.6)
    group.begin()
    trace(group, 12)
    state = group.state()
    assert any(w is not None for lane in state.values() for w in lane["window"])
    assert any(last is not None for lane in state.values() for last in lane["last"])
    expected = trace(group, 12, first=12)
    again = lanes(fresh, refine=0.6)
    again.restore(state)
    assert trace(again, 12, first=12) == expected
    divided = [lanes(fresh, lanes_of(r, 2, BATCH), refine=0.6) for r in (0, 1)]
    for part in divided:
        part.restore(state)
    halves = [trace(part, 12, first=12) for part in divided]
    assert [a + b for a, b in zip(*halves, strict=True)] == expected
    for each in (group, again, *divided):
        each.close()


def test_a_closer_look_follows_a_correction_and_the_view_goes_on_with_what_it_found(fresh):
    group = lanes(fresh, range(1), next_click_probability=0.999, refine=1.0)
    group.begin()
    looks = 0
    for step in range(30):
        (shown,) = group.choose()
        session = group.lanes[0].sessions[group.lanes[0]._chosen]
        view, looking = session.sample, session.window is not None
        clicks = len(view.positive) + len(view.negative)
        before = view.probability.copy()
        assert (shown is view) != looking
        group.advance(answers([shown], step))
        if looking:
            looks += 1
            assert session.window is None
            assert (view.probability != before).any()
        elif view.last is not None and clicks > 1 and session.window is not None:
            x, y = view.last
            w = session.window
            assert w.x0 <= x < w.x0 + w.side
            assert w.y0 <= y < w.y0 + w.side
            assert len(view.positive) + len(view.negative) == clicks  # the click waits
    assert looks >= 8
    group.close()


def test_a_checkpoint_without_closer_looks_is_restored(fresh):
    group = lanes(fresh)
    group.begin()
    trace(group, 6)
    state = group.state()
    expected = trace(group, 6, first=6)
    for lane in state.values():
        del lane["last"], lane["window"]
    again = lanes(fresh)
    again.restore(state)
    assert trace(again, 6, first=6) == expected
    for each in (group, again):
        each.close()
