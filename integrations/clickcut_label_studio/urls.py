"""URLs from outside: what is a URL at all, whose it is, and how it is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from clickcut.errors import printable

ODD = re.compile(r"[\x00-\x20\x7f\\]")
"""What neither a URL nor a key can contain, and what parsers of URLs disagree about."""


def place_of(url: str) -> SplitResult | None:
    """The parts of an HTTP URL; None when it is none or when parsers may disagree about it."""
    if ODD.search(url):
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        _ = parts.port  # raises when it is no number
    except ValueError:
        return None
    return parts if usable else None


def origin_of(place: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port of an HTTP URL."""
    default = 443 if place.scheme == "https" else 80
    return place.scheme, (place.hostname or "").lower(), place.port or default


def bare(url: str) -> str:
    """A URL for a message, without its query, which may hold a signature."""
    place = place_of(url)
    return printable(f"{place.scheme}://{place.netloc}{place.path}" if place else url, 200)


class Own:
    """Which URLs are those of a server, and which are of hosts that are allowed beside it.

    Args:
        url: of the server, with the path where it has one.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, url: str) -> None:
        place = place_of(url)
        if place is None:
            raise ValueError(url)
        self._origin = origin_of(place)
        self.path = place.path.rstrip("/")
        self.root = f"{place.scheme}://{place.netloc}"

    def holds(self, url: str) -> bool:
        """Whether a URL is below that of the server."""
        place = place_of(url)
        if place is None or origin_of(place) != self._origin:
            return False
        return place.path == self.path or place.path.startswith(f"{self.path}/")

    def allows(self, url: str, hosts: Sequence[str]) -> bool:
        """Whether a URL is the server's, or at one of `hosts` (HOST or HOST:PORT)."""
        place = place_of(url)
        if place is None:
            return False
        names = {(place.hostname or "").lower(), place.netloc.lower()}
        return self.holds(url) or any(host.lower() in names for host in hosts)
