"""Objects of a session that are not being edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clickcut.errors import LimitError
from clickcut.selection import Selection
from clickcut.session.history import History

MAX_OBJECTS = 2_000
"""Maximum number of objects in a session."""

MAX_OBJECT_BYTES = 64 * 2**20
"""Maximum memory of finished objects in a session; then no further one is started."""


@dataclass(frozen=True, slots=True)
class FinishedObject:
    """An object that is not the current one. Its state is recomputed when it is edited.

    Attributes:
        history: its events.
        selection: its mask.
        num_clicks: clicks and strokes in force.
    """

    history: History
    selection: Selection
    num_clicks: int

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.history.nbytes + self.selection.nbytes


def check_room(finished: Sequence[FinishedObject]) -> None:
    """Check that a session may start one more object.

    Raises:
        LimitError: it may not.
    """
    if len(finished) + 1 >= MAX_OBJECTS:
        raise LimitError(f"a session has at most {MAX_OBJECTS} objects; open another one")
    if sum(found.nbytes for found in finished) > MAX_OBJECT_BYTES:
        raise LimitError(
            f"the finished objects of a session take at most {MAX_OBJECT_BYTES >> 20} MiB; "
            "open another session"
        )
