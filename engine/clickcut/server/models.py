"""The models of a server: bundles by name, each loaded once and shared by all sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from clickcut.bundle import bundled_models
from clickcut.errors import BundleError, EventError
from clickcut.predictor import Predictor, load_predictor
from clickcut.v1 import clickcut_pb2 as pb


class Models:
    """Predictors by name.

    Args:
        predictors: at least one; the first is the default.

    Raises:
        BundleError: two of them have the same name.
    """

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        self._by_name: dict[str, Predictor] = {}
        for predictor in predictors:
            name = predictor.metadata.name
            if name in self._by_name:
                raise BundleError(f"two models are named {name!r}; give each only once")
            self._by_name[name] = predictor

    @staticmethod
    def load(names: Sequence[str], threads: int) -> Models:
        """Load bundles.

        Args:
            names: of bundled models, or paths; none: all bundled ones.
            threads: per prediction; 0 = one per core.

        Raises:
            BundleError: a file cannot be used, or there is none.
            BackendError: no back-end is installed.
        """
        paths = [find_bundle(name) for name in names] or list(bundled_models().values())
        if not paths:
            raise BundleError("no model comes with this installation: give --model PATH")
        return Models([load_predictor(path, threads) for path in paths])

    def __iter__(self) -> Iterator[Predictor]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Predictor:
        """The predictor of a name; "" is the default.

        Raises:
            EventError: there is none; the message lists the names.
        """
        if not name:
            return next(iter(self._by_name.values()))
        if name not in self._by_name:
            raise EventError(f"no model {name[:80]!r}; this server has {', '.join(self._by_name)}")
        return self._by_name[name]

    def listing(self) -> pb.ListModelsReply:
        """The reply to `ListModels`."""
        default = self.get("")
        return pb.ListModelsReply(
            models=[
                pb.Model(
                    name=p.metadata.name,
                    version=p.metadata.version,
                    architecture=p.metadata.architecture,
                    backend=p.backend,
                    is_default=p is default,
                    input_size=p.metadata.input_size,
                    metadata_json=p.metadata.model_dump_json(),
                )
                for p in self._by_name.values()
            ]
        )


def find_bundle(name: str) -> Path:
    """The file of a model that is given by name or by path.

    Raises:
        BundleError: neither a bundled model nor a file.
    """
    bundled = bundled_models()
    if name in bundled:
        return bundled[name]
    path = Path(name)
    if not path.is_file():
        known = ", ".join(bundled) or "none"
        raise BundleError(f"{name}: no such file, and no bundled model of this name ({known})")
    return path
