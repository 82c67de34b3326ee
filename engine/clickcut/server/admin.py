"""Reload the models, by SIGHUP or by the service `clickcut.v1.Admin`.

The service has a separate address, which only this machine can reach, or which asks for a client
certificate.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from clickcut.backends import Predictor
from clickcut.errors import ClickcutError, UnavailableError
from clickcut.server.background import in_background
from clickcut.server.core import Core
from clickcut.server.edge import Call
from clickcut.server.model_registry import Change
from clickcut.server.settings import Settings
from clickcut.v1 import admin_pb2, admin_pb2_grpc
from clickcut.warm_up import warm_up

_log = logging.getLogger(__name__)

NAME: str = admin_pb2.DESCRIPTOR.services_by_name["Admin"].full_name


class Reloader:
    """Reloads models, one reload at a time.

    Args:
        core: of the server.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = asyncio.Lock()

    async def reload(self, settings: Settings | None = None) -> Change:
        """Serve the models on disk. Open sessions keep their model.

        Args:
            settings: which models from now on; None for those of before.

        Raises:
            ClickcutError: a model cannot be used; nothing has changed.
        """
        if not self._core.ready or self._core.draining:
            raise UnavailableError("the server is not serving; models are not reloaded")
        async with self._lock:
            try:
                commit = await in_background(lambda: self._prepare(settings), "reload")
                change = commit()
            except Exception as error:
                _log.warning("models not reloaded, nothing has changed: %s", error)
                raise
        _log.info("models reloaded: %s", change)
        return change

    async def reload_quietly(self) -> None:
        """Reload for a signal: errors are only logged."""
        try:
            await self.reload()
        except ClickcutError:
            return  # logged
        except Exception:
            _log.exception("models not reloaded")

    def _prepare(self, settings: Settings | None) -> Callable[[], Change]:
        def warm(predictor: Predictor) -> None:
            warm_up(predictor, self._core.settings.cut_solver)

        try:
            return self._core.models.prepare(warm, settings)
        except ClickcutError as error:
            # A new error: the traceback of the old one keeps models alive until the next garbage
            # collection.
            refused = type(error)(str(error))
        raise refused


class AdminService(admin_pb2_grpc.AdminServicer):
    """Answers the RPCs of `clickcut.v1.Admin`."""

    def __init__(self, core: Core, reloader: Reloader) -> None:
        self._core = core
        self._reloader = reloader

    async def ReloadModels(  # type: ignore[override]  # noqa: N802
        self,
        request: admin_pb2.ReloadModelsRequest,
        context: Call,
    ) -> admin_pb2.ReloadModelsReply:
        """See admin.proto."""
        change: Change = await self._reloader.reload()
        return admin_pb2.ReloadModelsReply(
            added=change.added,
            replaced=change.replaced,
            removed=change.removed,
            kept=change.kept,
            models=self._core.models.listing(),
        )
