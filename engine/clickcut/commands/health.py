"""`clickcut health`: ask a server whether it serves, for health checks of containers."""

from __future__ import annotations

from typing import Annotated

import typer

from clickcut.commands.server_options import NO_TLS, TlsOptions, option_groups

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@option_groups
def health(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The server's address.")],
    tls: TlsOptions = NO_TLS,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=600, help="Maximum time to wait for the answer (seconds).")
    ] = 3.0,
) -> None:
    """Print the health status of a server. Exit code 0 if it serves, 1 if not.

    This is the check of grpc.health.v1 that is built into Kubernetes and Envoy.
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from clickcut.client.channel import Endpoint
    from clickcut.client.failures import error_of_rpc

    endpoint = Endpoint(address, tls.credentials())
    with endpoint.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as error:
            print(error_of_rpc(error, endpoint))
            raise typer.Exit(1) from error
    status = health_pb2.HealthCheckResponse.ServingStatus
    print(status.Name(reply.status))
    raise typer.Exit(reply.status != status.SERVING)


if __name__ == "__main__":
    app()
