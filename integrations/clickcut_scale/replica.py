"""One replica: a server without a gRPC server of its own, driven by Ray Serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clickcut import tracing
from clickcut.errors import ClickcutError
from clickcut.server import logs
from clickcut.server.admin import Reloader
from clickcut.server.background import in_background
from clickcut.server.core import Core
from clickcut.server.edge import Edge
from clickcut.server.memory import tune_allocator
from clickcut.server.model_registry import Models
from clickcut.server.process import worker_threads
from clickcut.server.service import ClickcutService
from clickcut.server.settings import Settings
from clickcut.v1 import clickcut_pb2_grpc
from clickcut.warm_up import warm_up_all
from clickcut_scale.calls import Encoded, RawCall, ServeContext, one
from clickcut_scale.handlers import Handler, methods_of

_log = logging.getLogger(__name__)

_CLICKCUT = "/clickcut.v1.Clickcut/"
_HEALTH = "/grpc.health.v1.Health/"


_MODELS = ("model", "models", "split")


def settings_with(fields: Mapping[str, Any], models: Mapping[str, Any]) -> Settings:
    """Return the settings of a replica.

    Args:
        fields: of `Settings` by name.
        models: `model`, `models` and `split` as of `Settings`, and `revision`, any value: another
            one has the same files read again.

    Raises:
        ValueError: a field is unknown or has an impossible value.
    """
    if unknown := sorted(models.keys() - {*_MODELS, "revision"}):
        raise ValueError(
            f"user_config: no field {', '.join(unknown)}; there are model, models, split"
        )
    chosen = {name: models[name] for name in _MODELS if models.get(name)}
    return Settings(**dict(fields) | chosen)


class Replica:
    """Answers the RPCs of `clickcut.v1.Clickcut` and health checks; Ray Serve calls its methods.

    The same core as that of `clickcut serve`: one event loop owns its state, see
    `clickcut.server.service`.

    Args:
        settings: fields of `Settings` by name; others come from the environment.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._fields = dict(settings)
        self._reloader: Reloader | None = None
        self._background: list[asyncio.Task[None]] = []

    async def reconfigure(self, models: Mapping[str, Any]) -> None:
        """Start with these models, or change to them and read the tokens again.

        Ray Serve calls it before the first request, and in every replica when `user_config`
        changes. Open sessions keep their model. A change that fails is logged and changes nothing:
        an error here would make Ray Serve end the replica, and its sessions with it.

        Args:
            models: see `settings_with`.

        Raises:
            ValueError: a field is unknown or has an impossible value; at the first call only.
            ClickcutError: the replica cannot start with these models.
        """
        if self._reloader is None:
            await self._start(settings_with(self._fields, models))
            return
        self._edge.core.tokens.reload()
        try:
            await self._reloader.reload(settings_with(self._fields, models))
        except (ClickcutError, ValueError) as error:
            _log.error("the models stay as they were: %s", error)

    async def _start(self, settings: Settings) -> None:
        logs.configure(settings.log_level, settings.log_format)
        tune_allocator()
        if settings.traces != "off":
            tracing.export(settings.traces)  # until the process ends
        models = await in_background(lambda: Models(settings), "models")
        core = Core(settings, models, worker_threads(settings, models))
        for line in await core.durability.describe():
            _log.info("%s", line)
        self._edge = Edge(core)
        self._methods: dict[str, Handler] = methods_of(
            clickcut_pb2_grpc.add_ClickcutServicer_to_server, ClickcutService(core)
        ) | methods_of(health_pb2_grpc.add_HealthServicer_to_server, _Health())
        predictors = [arm.predictor for arm in models]
        await in_background(
            lambda: warm_up_all(predictors, settings.cut_solver, _log.info), "warm-up"
        )
        self._background = [
            asyncio.create_task(work) for work in (core.sweep(), core.watch_memory())
        ]
        self._reloader = Reloader(core)
        core.ready = True

    def check_health(self) -> None:
        """Raise an error if the replica must be replaced; Ray Serve calls it periodically.

        Raises:
            RuntimeError: work that must always run has ended.
        """
        for task in self._background:
            if task.done():
                why = "cancelled" if task.cancelled() else repr(task.exception())
                raise RuntimeError(f"work of the server has ended: {why}")

    # ---- calls, by the names of their methods

    async def Session(  # noqa: N802
        self, requests: AsyncIterator[Message], grpc_context: ServeContext
    ) -> AsyncIterator[Any]:
        """See clickcut.proto."""
        call = RawCall(requests, grpc_context)
        async for reply in call.replies(self._answer(_CLICKCUT + "Session")):
            yield reply

    async def UploadImage(  # noqa: N802
        self, requests: AsyncIterator[Message], grpc_context: ServeContext
    ) -> Encoded:
        """See clickcut.proto."""
        return await RawCall(requests, grpc_context).reply(self._answer(_CLICKCUT + "UploadImage"))

    async def Segment(self, request: Message, grpc_context: ServeContext) -> Encoded:  # noqa: N802
        """See clickcut.proto."""
        return await self._one(_CLICKCUT + "Segment", request, grpc_context)

    async def ListModels(self, request: Message, grpc_context: ServeContext) -> Encoded:  # noqa: N802
        """See clickcut.proto."""
        return await self._one(_CLICKCUT + "ListModels", request, grpc_context)

    async def Check(self, request: Message, grpc_context: ServeContext) -> Encoded:  # noqa: N802
        """See https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto."""
        return await self._one(_HEALTH + "Check", request, grpc_context)

    async def _one(self, method: str, request: Message, context: ServeContext) -> Encoded:
        return await RawCall(one(request), context).reply(self._answer(method))

    def _answer(self, method: str) -> Any:
        async def answer(call: RawCall) -> None:
            await self._edge.serve(method, self._methods[method], call)  # type: ignore[arg-type]

        return answer


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Answers health checks: a replica gets requests only when it is warm."""

    async def Check(self, request: object, context: object) -> health_pb2.HealthCheckResponse:  # noqa: N802
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
