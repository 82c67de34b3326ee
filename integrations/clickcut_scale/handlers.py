"""The methods of gRPC services as generated code registers them, without a gRPC server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Handler = Any
"""A `grpc.RpcMethodHandler`, which has no useful type."""


class _Registry:
    """Stands for a `grpc.Server` while services register."""

    def __init__(self) -> None:
        self.methods: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Ignore these: the same methods are registered by name."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Handler]) -> None:
        """Keep the methods of a service."""
        self.methods |= {f"/{service}/{name}": handler for name, handler in handlers.items()}


def methods_of(register: Callable[[Any, Any], None], servicer: object) -> dict[str, Handler]:
    """Return the methods of a service by their full names, `/PACKAGE.SERVICE/METHOD`.

    Args:
        register: generated function `add_...Servicer_to_server`.
        servicer: answers the methods.
    """
    registry = _Registry()
    register(servicer, registry)
    return registry.methods
