"""Log the errors of clients, so many lines per host and minute: a client must not fill the disk."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass

from clickcut.server.peers import Peer

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Host:
    since: float
    lines: int = 0
    left_out: int = 0


class FaultLog:
    """Logs errors of clients; those beyond the allowed lines of their host are counted.

    Args:
        level: of the lines, as `logging` has it.
        lines: per host and `SECONDS`.
    """

    SECONDS = 60.0
    HOSTS = 1000

    def __init__(self, level: int = logging.WARNING, lines: int = 1) -> None:
        self._level = level
        self._lines = lines
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def add(self, peer: Peer, text: str) -> None:
        """Log an error, or count it if its host has had its lines."""
        now = time.monotonic()
        host = self._hosts.get(peer.host)
        more = 0
        if host is None or now - host.since >= self.SECONDS:
            more = host.left_out if host is not None else 0
            host = self._hosts[peer.host] = _Host(now)
            self._hosts.move_to_end(peer.host)
        if host.lines >= self._lines:
            host.left_out += 1
            return
        host.lines += 1
        counted = f" ({more} more since the last line)" if more else ""
        _log.log(self._level, "%s: %s%s", peer.host, text, counted)
        while len(self._hosts) > self.HOSTS:
            self._hosts.popitem(last=False)
