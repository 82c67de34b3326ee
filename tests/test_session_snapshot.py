"""Going back to a snapshot: a session is as if the events since had never been."""

from __future__ import annotations

import numpy as np
from fakes import FakePredictor, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from test_session import actions, perform

from clickcut.images import prepare_pixels
from clickcut.session import ClickSession

objects = st.lists(
    st.one_of(
        st.tuples(st.just("next"), st.booleans()),
        st.tuples(st.just("edit"), st.integers(0, 2), st.booleans()),
    ),
    max_size=4,
)


def apply(session, action):
    name, *rest = action
    if name == "next":
        session.next_object(*rest)
    elif name != "edit":
        perform(session, action)
    elif rest[0] < session.num_objects:
        session.edit_object(*rest)


def described(session):
    found = [session.mask.tobytes(), session.parameters, session.object_index, session.clicks]
    found += [(o.index, o.selection.box, o.selection.area) for o in session.objects()]
    return [*found, session.can_undo, session.can_redo]


@settings(deadline=None, max_examples=10)
@given(st.data())
def test_what_was_gone_back_from_leaves_no_trace(data):
    sequence = data.draw(st.permutations(data.draw(actions) + data.draw(objects)))
    gone = data.draw(st.lists(st.booleans(), min_size=len(sequence), max_size=len(sequence)))
    image = prepare_pixels(picture())
    session, plain = (ClickSession(image, FakePredictor()) for _ in range(2))
    for action, goes in zip(sequence, gone, strict=True):
        before = session.snapshot()
        apply(session, action)
        if goes:
            session.go_back(before)
        else:
            apply(plain, action)
        assert described(session) == described(plain)
    for index in range(plain.num_objects):
        for either in (session, plain):
            either.edit_object(index)
        assert described(session) == described(plain)
        while plain.can_undo:
            session.undo()
            plain.undo()
            np.testing.assert_array_equal(session.mask, plain.mask)
        while plain.can_redo:
            session.redo()
            plain.redo()
        assert described(session) == described(plain)
