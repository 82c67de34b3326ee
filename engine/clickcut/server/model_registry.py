"""The models of a server: by name and version, each loaded once and shared by all sessions.

What is served is one immutable `_Catalogue`. A reload builds the next one from the
unchanged models and the changed ones, and swaps it in when all of it works. Sessions hold their
predictor: they keep their model to the end, and a model that is no longer served is freed with its
last session.
"""

from __future__ import annotations

import hashlib
import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickcut.backends import Predictor, default_backend, load_predictor
from clickcut.backends.batching import BatchingPredictor
from clickcut.backends.crowd import for_crowds
from clickcut.backends.probe import probe
from clickcut.bundle.repository import check_place, find_models
from clickcut.errors import BundleError, EventError
from clickcut.processor import available_cores
from clickcut.server.settings import Settings
from clickcut.v1 import clickcut_pb2 as pb

_log = logging.getLogger(__name__)

GPU_BATCH = 8
"""Default maximum batch size on a GPU."""

_Fingerprint = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """A version and its share of the sessions of its name without a version."""

    predictor: Predictor
    share: float


@dataclass(frozen=True, slots=True)
class Change:
    """What a reload did, each as NAME@VERSION."""

    added: tuple[str, ...]
    replaced: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]

    def __str__(self) -> str:
        parts = ((k, getattr(self, k)) for k in ("added", "replaced", "removed", "kept"))
        return "; ".join(f"{kind} {', '.join(names)}" for kind, names in parts if names)


class Choice:
    """The versions that a session may get."""

    def __init__(self, arms: Sequence[Arm]) -> None:
        self._arms = arms

    def of(self, image_digest: str) -> Predictor:
        """Return the version for a session on this image: the same one while shares are unchanged.

        By the image and not by chance, so that a session that is built again, here or on another
        server of the same settings, gets the same version.
        """
        name = self._arms[0].predictor.metadata.name
        drawn = hashlib.sha256(f"{name} {image_digest}".encode()).digest()
        at = int.from_bytes(drawn[:6]) / 2**48
        for arm in self._arms:
            at -= arm.share
            if at < 0:
                return arm.predictor
        return max(self._arms, key=lambda arm: arm.share).predictor


class Models:
    """Predictors by name and version.

    Args:
        settings: which to load, and how.

    Attributes:
        is_crowded: returns whether there is work for every core; set by who knows.

    Raises:
        BundleError: a file cannot be used, there is none, two are the same, or a split names a
            version that there is not.
        BackendError: the back-end is not available.
    """

    def __init__(self, settings: Settings) -> None:
        self.is_crowded: Callable[[], bool] = lambda: False
        self._settings = settings
        self._backend = "" if settings.backend == "auto" else settings.backend
        self._catalogue = self._build(settings, None)

    def __iter__(self) -> Iterator[Arm]:
        """All versions, the default's name first."""
        for arms in self._catalogue.by_name.values():
            yield from arms

    @property
    def on_gpu(self) -> bool:
        """Whether one of them runs on a GPU."""
        return any(on_gpu(arm.predictor) for arm in self)

    def find(self, wanted: str) -> Choice:
        """Return the versions for `NAME`, `NAME@VERSION` or "", the default.

        Raises:
            EventError: there is none; the message lists what there is.
        """
        by_name = self._catalogue.by_name
        if not wanted:
            return Choice(next(iter(by_name.values())))
        name, _, version = wanted.partition("@")
        arms = [a for a in by_name.get(name, ()) if version in ("", a.predictor.metadata.version)]
        if not arms:
            known = ", ".join(label(arm.predictor) for arm in self)
            raise EventError(f"no model {wanted[:80]!r}; this server has {known}")
        return Choice([Arm(arms[0].predictor, 1.0)] if version else arms)

    def with_key(self, key: str) -> Predictor | None:
        """Return the model with a key of `model_key`; None if it is not served."""
        return next((arm.predictor for arm in self if model_key(arm.predictor) == key), None)

    def listing(self) -> list[pb.Model]:
        """Return the models for `ListModels`."""
        default = next(iter(self._catalogue.by_name))
        return [
            pb.Model(
                name=arm.predictor.metadata.name,
                version=arm.predictor.metadata.version,
                architecture=arm.predictor.metadata.architecture,
                backend=arm.predictor.backend,
                is_default=arm.predictor.metadata.name == default and arm.share > 0,
                share=arm.share,
                input_size=arm.predictor.metadata.input_size,
                metadata_json=arm.predictor.metadata.model_dump_json(),
            )
            for arm in self
        ]

    # ---- reload

    def prepare(
        self, warm_up: Callable[[Predictor], None], settings: Settings | None = None
    ) -> Callable[[], Change]:
        """Load and warm up the models that changed on disk, in a thread; serve them later.

        Args:
            warm_up: called with each model that was loaded.
            settings: which models from now on; None for those of before.

        Returns:
            A function to call in the event loop: serves the new models, returns the changes.

        Raises:
            BundleError, BackendError: as the constructor.
        """
        old = self._catalogue
        wanted = settings or self._settings
        new = self._build(wanted, old)
        fresh = [p for path, (_, p) in new.files.items() if old.files.get(path, (0, 0))[1] is not p]
        for predictor in fresh:
            warm_up(predictor)

        def commit() -> Change:
            self._catalogue, self._settings = new, wanted
            return _difference(old, new)

        return commit

    def _build(self, settings: Settings, old: _Catalogue | None) -> _Catalogue:
        folder = settings.models
        files: dict[Path, tuple[_Fingerprint, Predictor]] = {}
        paths = find_models(settings.model, folder, self._backend)
        for path in paths:
            if path in files:
                raise BundleError(f"two models are {path}; give each only once")
            known = old.files.get(path) if old is not None else None
            fingerprint = _fingerprint(path)
            if known is not None and known[0] == fingerprint:
                files[path] = known
                continue
            predictor = self._load_file(path)
            check_place(path, folder, predictor.metadata)
            files[path] = fingerprint, predictor
        predictors = [predictor for _, predictor in files.values()]
        return _Catalogue(files, _arms(predictors, settings.split))

    def _load_file(self, path: Path) -> Predictor:
        settings = self._settings
        on_cpu = (self._backend or default_backend(path)) == "onnxruntime-cpu"
        most = settings.max_batch or (1 if on_cpu else GPU_BATCH)
        probe(path)
        predictor = load_predictor(path, settings.threads, self._backend, most)
        if settings.max_batch > 1 or (settings.max_batch == 0 and on_gpu(predictor)):
            return BatchingPredictor(predictor, most, 1e-3 * settings.batch_delay_ms)
        if settings.threads or on_gpu(predictor) or available_cores() == 1:
            return predictor
        return for_crowds(predictor, path, lambda: self.is_crowded())


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """The served models.

    Attributes:
        files: each file as it was when it was loaded, and its predictor.
        by_name: versions of each name, the default name first.
    """

    files: dict[Path, tuple[_Fingerprint, Predictor]]
    by_name: dict[str, tuple[Arm, ...]]


def label(predictor: Predictor) -> str:
    """Return NAME@VERSION."""
    return f"{predictor.metadata.name}@{predictor.metadata.version}"


def model_key(predictor: Predictor) -> str:
    """Return a text that is the same for models that give the same masks."""
    return f"{label(predictor)} {predictor.sha256} {predictor.backend}"


def on_gpu(predictor: Predictor) -> bool:
    """Return whether it runs on a GPU."""
    return predictor.backend != "onnxruntime-cpu"


def _fingerprint(path: Path) -> _Fingerprint:
    """Return a value that changes when a model, its description or its hash file is written."""
    marks: list[tuple[int, int, int] | None] = []
    for name in (path.name, f"{path.name}.json", f"{path.name}.sha256"):
        try:
            found = path.with_name(name).stat()
        except OSError:
            marks.append(None)
        else:
            marks.append((found.st_ino, found.st_size, found.st_mtime_ns))
    return tuple(marks)


def _arms(predictors: Sequence[Predictor], split: Sequence[str]) -> dict[str, tuple[Arm, ...]]:
    """Return versions with their shares; without a split the first of a name gets all sessions."""
    versions: dict[str, dict[str, Predictor]] = {}
    for predictor in predictors:
        metadata = predictor.metadata
        of_name = versions.setdefault(metadata.name, {})
        if metadata.version in of_name:
            raise BundleError(f"two models are named {label(predictor)!r}; give each only once")
        of_name[metadata.version] = predictor
    weights: dict[str, dict[str, float]] = {}
    for entry in split:
        wanted, _, weight = entry.rpartition("=")
        name, _, version = wanted.partition("@")
        if version not in versions.get(name, {}):
            known = ", ".join(label(p) for p in predictors)
            raise BundleError(f"--split {entry}: there is no model {wanted}; there are {known}")
        weights.setdefault(name, {})[version] = float(weight)
    by_name = {}
    for name, of_name in versions.items():
        given = weights.get(name, {next(iter(of_name)): 1.0})
        total = sum(given.values())
        by_name[name] = tuple(Arm(p, given.get(v, 0.0) / total) for v, p in of_name.items())
    return by_name


def _difference(old: _Catalogue, new: _Catalogue) -> Change:
    before, after = (
        {label(a.predictor): a.predictor for arms in c.by_name.values() for a in arms}
        for c in (old, new)
    )
    for name, predictor in before.items():
        if after.get(name) is not predictor:
            freed = weakref.finalize(predictor, _log.info, "model %s: its memory is free", name)
            freed.atexit = False
    return Change(
        added=tuple(n for n in after if n not in before),
        replaced=tuple(n for n in after if n in before and before[n] is not after[n]),
        removed=tuple(n for n in before if n not in after),
        kept=tuple(n for n in after if before.get(n) is after[n]),
    )
