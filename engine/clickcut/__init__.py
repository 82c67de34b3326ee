"""Select an object in an image with a few clicks.

    import clickcut

    session = clickcut.open("photo.jpg")
    mask = session.click(190, 330)  # (H, W) bool

`clickcut.open` computes in this process; `clickcut.Client` and `clickcut.AsyncClient` have the same
sessions on a server. `clickcut.SamPredictor` is for code that calls `set_image` and `predict`.

Everything is imported at first use, so a process that only speaks to a server loads neither the
kernels nor a network back-end.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# ONNX Runtime sends telemetry, on Linux since 1.29, unless this is set before it is imported. An
# engine that processes people's images must send nothing anywhere.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from clickcut.api.local_session import LocalSession as LocalSession
    from clickcut.api.opening import open as open
    from clickcut.api.protocols import AsyncSession as AsyncSession
    from clickcut.api.protocols import Session as Session
    from clickcut.api.sam_predictor import SamPredictor as SamPredictor
    from clickcut.client import AsyncClient as AsyncClient
    from clickcut.client import Client as Client

    __version__: str

_HOMES = {
    "AsyncClient": "clickcut.client",
    "AsyncSession": "clickcut.api.protocols",
    "Client": "clickcut.client",
    "LocalSession": "clickcut.api.local_session",
    "SamPredictor": "clickcut.api.sam_predictor",
    "Session": "clickcut.api.protocols",
    "open": "clickcut.api.opening",
}

__all__ = [
    "AsyncClient",
    "AsyncSession",
    "Client",
    "LocalSession",
    "SamPredictor",
    "Session",
    "__version__",
    "open",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("clickcut")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'clickcut' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
