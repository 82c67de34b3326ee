"""What is served beside the main address: the admin service, health for probes, metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clickcut.errors import ClickcutError
from clickcut.server.admin import NAME as ADMIN_NAME
from clickcut.server.admin import AdminService, Reloader
from clickcut.server.certificates import Certificates
from clickcut.server.core import Core
from clickcut.server.edge import Edge
from clickcut.v1 import admin_pb2_grpc

End = Callable[[], Awaitable[None]]
"""Ends a service."""

Say = Callable[[str], None]
"""Prints a line of progress."""


class StartError(ClickcutError):
    """The server cannot start: an address is in use, or wrong."""


async def start_admin(
    core: Core, reloader: Reloader, certificates: Certificates | None, say: Say
) -> End:
    """Start the admin service if it has an address.

    Raises:
        StartError: the address cannot be used.
    """
    settings = core.settings
    address, authority = settings.admin_address, settings.admin_client_ca
    if address is None:
        return _nothing
    server = _server(core)
    admin_pb2_grpc.add_AdminServicer_to_server(AdminService(core, reloader), server)
    reflection.enable_server_reflection((ADMIN_NAME, reflection.SERVICE_NAME), server)
    credentials = None
    if certificates is not None and authority is not None:
        credentials = certificates.credentials(authority)
    return await _start(server, address, "admin", credentials, say)


async def start_health(core: Core, servicer: health.aio.HealthServicer, say: Say) -> End:
    """Start the health service for probes if it has an address.

    Raises:
        StartError: the address cannot be used.
    """
    address = core.settings.health_address
    if address is None:
        return _nothing
    server = _server(core)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return await _start(server, address, "health", None, say)


async def serve_metrics(core: Core, certificates: Certificates | None, say: Say) -> End:
    """Serve the metrics if they have a port.

    Raises:
        StartError: the port cannot be used.
    """
    settings = core.settings
    port, host = settings.metrics_port, settings.host
    if port is None:
        return _nothing
    context = None
    if certificates is not None and settings.metrics_tls:
        context = certificates.context()
    try:
        server, port = await core.metrics.serve(host.strip("[]"), port, context)
    except OSError as error:
        raise StartError(
            f"cannot offer metrics on port {port}: {error.strerror or error}; give another "
            "--metrics-port"
        ) from error
    scheme = "http" if context is None else "https"
    say(f"metrics   {scheme}://{host}:{port}/metrics")

    async def end() -> None:
        server.close()

    return end


def _server(core: Core) -> grpc.aio.Server:
    return grpc.aio.server(options=[("grpc.so_reuseport", 0)], interceptors=[Edge(core)])


async def _start(
    server: grpc.aio.Server,
    address: str,
    name: str,
    credentials: grpc.ServerCredentials | None,
    say: Say,
) -> End:
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise StartError(f"cannot listen on {address} (--{name}-address): {error}") from error
    await server.start()
    host = address.rpartition(":")[0]
    say(f"{name:<9} {address if address.startswith('unix:') else f'{host}:{port}'}")
    return lambda: server.stop(0)


async def _nothing() -> None:
    """Do nothing: there is nothing to end."""
