"""Objects of a session that are not being edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clickcut.errors import LimitError
from clickcut.selection import Selection
from clickcut.session.history import History

MAX_OBJECTS = 10_000
"""Objects on one image in one session."""

MAX_OBJECT_BYTES = 64 * 2**20
"""A session starts no further object when the finished ones hold more."""


@dataclass(frozen=True, slots=True)
class FinishedObject:
    """An object that is not the current one. Its state is computed again when it is edited.

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
    """Check whether a session may start one more object beside the current one.

    Raises:
        LimitError: no.
    """
    if len(finished) + 1 >= MAX_OBJECTS:
        raise LimitError(f"a session has at most {MAX_OBJECTS} objects; open another one")
    if sum(found.nbytes for found in finished) > MAX_OBJECT_BYTES:
        raise LimitError(
            f"the finished objects of a session take at most {MAX_OBJECT_BYTES >> 20} MiB; "
            "open another session"
        )
