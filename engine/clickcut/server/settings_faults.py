"""What is wrong with settings: limits that contradict each other, and errors as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

if TYPE_CHECKING:
    from clickcut.server.settings import Settings

_MIN_BYTES_PER_PIXEL = 3
"""Memory of a decoded image before the first click."""


def faults_of(error: ValidationError) -> list[str]:
    """Return what is wrong with settings, a line each, that starts with the option at fault."""
    lines = []
    for fault in error.errors():
        option = "".join(f"--{str(part).replace('_', '-')}: " for part in fault["loc"][:1])
        lines.append(f"{option}{fault['msg'].removeprefix('Value error, ')}")
    return lines


def check_limits(settings: Settings) -> None:
    """Check that no limit exceeds another one that contains it.

    Raises:
        ValueError: one does; names both.
    """
    s = settings
    _check_within("--max-sessions-per-host", s.max_sessions_per_host, "--max-sessions", s)
    _check_within("--queue-seconds", s.queue_seconds, "--request-seconds", s)
    if s.upload_memory_mib:
        _check_within("--max-message-mib", s.max_message_mib, "--upload-memory-mib", s)
    if s.store != "memory":
        _check_within("--store-session-mib", s.store_session_mib, "--store-mib", s)
        _check_within("--max-image-mib", s.max_image_mib, "--store-image-mib", s)
        for name in ("--idle-seconds", "--resume-seconds"):
            _check_within(name, _value(s, name), "--store-seconds", s)
    _check_memory(s)


def _check_within(name: str, value: float, container: str, settings: Settings) -> None:
    limit = _value(settings, container)
    if value > limit:
        raise ValueError(
            f"{name} {value:g} is more than {container} {limit:g}: give a smaller {name} or a "
            f"larger {container}"
        )


def _value(settings: Settings, option: str) -> float:
    return float(getattr(settings, option.removeprefix("--").replace("-", "_")))


def _check_memory(s: Settings) -> None:
    """Check that the parts of the memory fit into it, and an image into its part."""
    parts = s.image_memory_mib + s.session_memory_mib + 2 * s.upload_memory_mib
    if s.memory_mib and parts > s.memory_mib:
        raise ValueError(
            f"--image-memory-mib {s.image_memory_mib}, --session-memory-mib "
            f"{s.session_memory_mib} and twice --upload-memory-mib {s.upload_memory_mib} are "
            f"{parts} together, more than --memory-mib {s.memory_mib}: they are parts of it"
        )
    pixels = s.max_image_megapixels * 1e6
    if s.image_memory_mib and pixels * _MIN_BYTES_PER_PIXEL > s.image_memory_mib * 2**20:
        raise ValueError(
            f"an image of --max-image-megapixels {s.max_image_megapixels:g} does not fit into "
            f"--image-memory-mib {s.image_memory_mib}: give a smaller image or more memory"
        )
