"""The packaged photograph as sample data."""

from __future__ import annotations

from importlib import resources
from typing import Any

from clickcut.image_file import decode

LayerData = tuple[Any, dict[str, Any], str]


def astronaut() -> list[LayerData]:
    """Return the photograph as an image layer, (512, 512, 3) uint8 RGB."""
    data = (resources.files("clickcut") / "assets" / "astronaut.jpg").read_bytes()
    return [(decode(data), {"name": "astronaut", "rgb": True}, "image")]
