"""A store as obvious as possible, to compare the real ones with. No limits, no expiry."""

from __future__ import annotations

from dataclasses import dataclass, field

from clickcut.store import Append, Create, Drop, Opening


@dataclass
class _Session:
    opening: Opening
    epoch: int = 1
    events: list[bytes] = field(default_factory=list)


class NaiveStore:
    """Says in words what a real store raises or returns."""

    def __init__(self) -> None:
        self.sessions: dict[str, _Session] = {}
        self.images: dict[tuple[str, str], bytes] = {}

    def commit(self, write: Create | Append | Drop) -> str:
        if isinstance(write, Create):
            opening = write.opening
            if (opening.owner, opening.image) not in self.images:
                return "ImageNotFoundError"
            self.sessions[opening.session_id] = _Session(opening)
            return "None"
        if isinstance(write, Drop):
            self.sessions.pop(write.session_id, None)
            return "None"
        found = self.sessions.get(write.session_id)
        if found is None:
            return "SessionNotFoundError"
        if found.epoch != write.epoch:
            return "TakenOverError"
        if len(found.events) == write.position + 1 and found.events[-1] == write.event:
            return "None"  # the same again
        if len(found.events) != write.position:
            return "ConflictError"
        found.events.append(write.event)
        return "None"

    def nbytes(self, owner: str) -> int:
        """What the sessions of an owner count for in its share."""
        return sum(
            512 + len(found.opening.start) + sum(64 + len(event) for event in found.events)
            for found in self.sessions.values()
            if found.opening.owner == owner
        )

    def load(self, session_id: str, owner: str, after: int, take: bool) -> object:
        found = self.sessions.get(session_id)
        if found is None or found.opening.owner != owner:
            return None
        found.epoch += take
        return found.opening, found.epoch, len(found.events), found.events[after:]
