"""Settings of the backend."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from clickcut.client.access import Access

MIB = 2**20

Shape = Literal["brush", "polygon"]

LABEL_STUDIO_TIMEOUT = 100.0
"""Seconds after which Label Studio gives up on an answer, its `ML_TIMEOUT_PREDICT`."""


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """Settings of the backend.

    Attributes:
        url: of Label Studio.
        api_key: a personal access token or a legacy token of Label Studio.
        server: HOST:PORT of the engine.
        access: to the engine: TLS and its token.
        model: of the engine, NAME or NAME@VERSION; "" for its default.
        user: name that Label Studio must give; "" for no authentication.
        password: that goes with it.
        image_hosts: hosts other than Label Studio's from which images may be fetched.
        shape: of answers, where the labelling configuration has tags for both.
        tolerance: largest distance in pixels between polygon answers and the exact outline.
        max_image_bytes: largest image file.
        max_cached_bytes: of image files kept, so that a second object needs no second download.
        max_sessions: open at once; the one that was used least recently is closed.
        idle_seconds: after which a session is closed, and an image file forgotten.
        timeout: seconds until an answer; below that of Label Studio.
    """

    url: str
    api_key: str
    server: str = ""
    access: Access = field(default_factory=Access)
    model: str = ""
    user: str = ""
    password: str = ""
    image_hosts: tuple[str, ...] = ()
    shape: Shape = "brush"
    tolerance: float = 1.0
    max_image_bytes: int = 128 * MIB
    max_cached_bytes: int = 256 * MIB
    max_sessions: int = 64
    idle_seconds: float = 600.0
    timeout: float = 90.0
