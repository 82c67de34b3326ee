"""The Serve application: what Ray Serve runs, how requests find a replica, when it adds one.

`clickcut_scale.application:build` is the import path for `serve deploy` and KubeRay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, RequestRouterConfig, gRPCOptions
from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

from clickcut.client.routing import APPLICATION
from clickcut.server.settings import Settings
from clickcut.server.settings_faults import faults_of
from clickcut_scale.replica import Replica

NAME = APPLICATION
"""Name of the application; clients send it with each request."""

DEPLOYMENT = "engine"

SERVICES = (
    "clickcut.v1.clickcut_pb2_grpc.add_ClickcutServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
)
"""What the proxy of Ray Serve must know to parse requests."""


_OF_AN_ADDRESS = ("address", "tls_", "metrics_", "health_", "admin_")
"""Beginnings of the names of settings that concern addresses, which a replica does not have."""


class Arguments(BaseModel):
    """Arguments of the application, `args` of its entry in a Serve configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: dict[str, Any] = Field(
        default={}, description="Settings of each replica, as of `clickcut serve`."
    )
    replicas: int | None = Field(
        default=None, ge=1, le=1000, description="Number of replicas; None to scale with the load."
    )
    min_replicas: int = Field(default=1, ge=1, le=1000, description="Minimum number of replicas.")
    max_replicas: int = Field(default=8, ge=1, le=1000, description="Maximum number of replicas.")
    sessions_per_replica: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="Open sessions of a replica at which another is added.",
    )
    cpus: float = Field(default=2.0, gt=0, le=1024, description="CPUs that a replica reserves.")
    gpus: float = Field(default=0.0, ge=0, le=64, description="GPUs that a replica reserves.")
    drain_seconds: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="Time that a replica to be stopped leaves its sessions; then they continue on "
        "another one (seconds).",
    )

    @model_validator(mode="after")
    def _check(self) -> Arguments:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas ({self.min_replicas}) is larger than max_replicas "
                f"({self.max_replicas})"
            )
        if self.replicas is not None and {"min_replicas", "max_replicas"} & self.model_fields_set:
            raise ValueError("give replicas, or min_replicas and max_replicas, not both")
        if unknown := sorted(self.settings.keys() - Settings.model_fields.keys()):
            raise ValueError(f"settings: `clickcut serve` has no {', '.join(unknown)}")
        try:
            settings = Settings(**self.settings)
        except ValidationError as error:
            raise ValueError(f"settings: {'; '.join(faults_of(error))}") from error
        # Those of the environment count as well.
        if foreign := sorted(s for s in settings.model_fields_set if s.startswith(_OF_AN_ADDRESS)):
            raise ValueError(
                f"settings: {', '.join(foreign)} cannot be used, since replicas have no address of "
                "their own: TLS, ports and addresses are those of Ray Serve's proxy"
            )
        if self.replicas is None and self.sessions_per_replica > settings.max_sessions:
            raise ValueError(
                f"sessions_per_replica ({self.sessions_per_replica}) is larger than max_sessions "
                f"({settings.max_sessions}) of a replica, so no replica would ever be added"
            )
        if settings.store.startswith("sqlite:"):
            raise ValueError(
                "replicas share sessions through Redis only: give --store redis://HOST:PORT/DB, or "
                "memory, where a session whose replica has gone is replayed by its client"
            )
        tokens = settings.tokens is not None or settings.token_lines is not None
        if tokens and not settings.plaintext_tokens:
            raise ValueError(
                "the proxy of Ray Serve takes tokens in plain text, on every interface: put a "
                "proxy with TLS in front of it, and allow this with plaintext_tokens "
                "(CLICKCUT_PLAINTEXT_TOKENS)"
            )
        return self


def build(args: Arguments | dict[str, Any]) -> Application:
    """Return the application.

    Args:
        args: fields of `Arguments`, as a Serve configuration has them.

    Raises:
        ValidationError: a field is unknown or has an impossible value.
    """
    checked = Arguments.model_validate(args)
    return deployment(checked).bind(checked.settings)


def deployment(args: Arguments) -> serve.Deployment:
    """Return the deployment of `Replica` as the arguments describe it."""
    most = Settings(**args.settings).max_sessions
    scaling: dict[str, Any] = {"num_replicas": args.replicas}
    if args.replicas is None:
        scaling = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=args.min_replicas,
                initial_replicas=args.min_replicas,
                max_replicas=args.max_replicas,
                # An open session is one ongoing request, whether its user clicks or thinks.
                target_ongoing_requests=args.sessions_per_replica,
                upscale_delay_s=15.0,
                downscale_delay_s=600.0,
            )
        }
    decorate = serve.deployment(
        name=DEPLOYMENT,
        user_config={},  # Ray Serve calls `reconfigure` only where there is one
        # Uploads and stateless requests beside the sessions.
        max_ongoing_requests=2 * most,
        max_queued_requests=most,
        graceful_shutdown_timeout_s=args.drain_seconds,
        graceful_shutdown_wait_loop_s=min(1.0, max(0.1, args.drain_seconds)),
        health_check_period_s=10.0,
        health_check_timeout_s=30.0,
        # A replica that cannot start is tried a few times only.
        max_constructor_retry_count=3,
        ray_actor_options={"num_cpus": args.cpus, "num_gpus": args.gpus},
        request_router_config=RequestRouterConfig(
            request_router_class=ConsistentHashRouter,  # type: ignore[arg-type]
            # With 1 a session that its replica refuses moves to the next one in the ring, where
            # its state is read from the store, or replayed by the client.
            request_router_kwargs={"num_virtual_nodes": 100, "num_fallback_replicas": 1},
        ),
        **scaling,
    )
    return decorate(Replica)


def configuration(args: Arguments, models: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Serve configuration of the application: what KubeRay calls `serveConfigV2`.

    Args:
        args: a change of them restarts the replicas, one after the other.
        models: which models, see `Replica.reconfigure`; a change is taken over without a restart.
    """
    return {
        "applications": [
            {
                "name": NAME,
                "route_prefix": f"/{NAME}",
                "import_path": "clickcut_scale.application:build",
                "args": args.model_dump(exclude_unset=True),
                "deployments": [{"name": DEPLOYMENT, "user_config": dict(models)}],
            }
        ]
    }


def grpc_options(port: int) -> gRPCOptions:
    """Return the options of the gRPC proxy.

    Args:
        port: that it listens on, on every interface.
    """
    return gRPCOptions(port=port, grpc_servicer_functions=list(SERVICES), enable_reflection=True)
