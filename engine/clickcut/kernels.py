"""Kernels: functions that Numba compiles, and the cache of their machine code.

Compiling all of them takes up to a minute, so the code is cached in files. Numba's own cache needs
a writable folder, even to read from it. Here code is read from any of these folders, in this order,
and written to the first writable one:

1. the one named by the environment variable CLICKCUT_CACHE; if it is set, no other is used,
2. `__pycache__` beside the source,
3. the user's cache folder.

If none is writable, kernels are compiled at each start, and a warning is logged once. Entries are
for one kind of processor and one version of Numba. They are pickles: a folder must be as
trustworthy as the program.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Literal, ParamSpec, TypeVar, cast

from numba import njit
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    NullCache,
    _CacheLocator,
)
from numba.core.dispatcher import Dispatcher
from numba.misc.appdirs import AppDirs

ENVIRONMENT = "CLICKCUT_CACHE"
"""Environment variable with the folder of the cache."""

_P = ParamSpec("_P")
_R = TypeVar("_R")

_log = logging.getLogger(__name__)

_DAMAGE = (
    *(OSError, EOFError, pickle.PickleError, ValueError, KeyError, IndexError),
    *(AttributeError, ImportError, TypeError, RuntimeError),
)
"""Exceptions raised when reading a file that is truncated or was written by another version."""

kernels: list[Dispatcher] = []
"""All kernels defined so far, except those that are only inlined into others."""

_listeners: list[Callable[[], None]] = []
_warned = False


def kernel(
    function: Callable[_P, _R], *, inline: Literal["never", "always"] = "never"
) -> Callable[_P, _R]:
    """Compile a function when it is first called; it releases the interpreter lock.

    Args:
        function: takes and fills arrays.
        inline: "always": into each kernel that calls it.
    """
    compiled = njit(nogil=True, inline=inline)(function)
    if isinstance(compiled, Dispatcher):  # not with NUMBA_DISABLE_JIT
        compiled._cache = _Layers(compiled)  # type: ignore[attr-defined]
        if inline == "never":
            kernels.append(compiled)
    return cast("Callable[_P, _R]", compiled)


def inlined(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a function into each kernel that calls it, where a call would cost too much."""
    return kernel(function, inline="always")


def ready() -> tuple[int, int]:
    """Return how many kernels have been compiled or read, and how many there are.

    The first number may stay below the second: cached code may include that of other kernels.
    """
    return sum(bool(compiled.signatures) for compiled in kernels), len(kernels)


@contextmanager
def watched(listener: Callable[[], None]) -> Iterator[None]:
    """Call `listener` whenever a kernel becomes ready, while the context lasts."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def kept() -> bool:
    """Return whether all machine code so far was read from the cache or written to it."""
    return not _warned


def folders(source: Path) -> list[Path]:
    """Return the folders in which the kernels of a source file are cached, in order of search."""
    package = source.parent.name
    if chosen := os.environ.get(ENVIRONMENT):
        return [Path(chosen).absolute() / package]
    user: str = AppDirs(appname="clickcut", appauthor=False).user_cache_dir  # type: ignore[no-untyped-call]
    # By place: another installation of the same user has a folder of its own.
    place = hashlib.sha256(os.fsencode(source.parent)).hexdigest()[:16]
    return [source.parent / "__pycache__", Path(user) / "kernels" / f"{package}-{place}"]


class _Layers(NullCache):
    """A cache in several folders, none of which has to exist or be writable."""

    def __init__(self, compiled: Dispatcher) -> None:
        self._compiled = compiled

    @functools.cached_property
    def _layers(self) -> list[FunctionCache]:
        # Only at the first call: by then everything that the kernel calls is defined.
        source = Path(self._compiled.py_func.__code__.co_filename)
        try:
            stamp = _stamp(self._compiled)
        except OSError:  # no source file
            return []
        return [_layer(folder, stamp)(self._compiled.py_func) for folder in folders(source)]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code of a signature; None if it is not cached."""
        for layer in self._layers:
            try:
                found = layer.load_overload(sig, target_context)  # type: ignore[no-untyped-call]
            except _DAMAGE as error:
                _log.debug("a kernel in %s cannot be read: %s", layer.cache_path, error)
                continue
            if found is not None:
                _tell()
                return found
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the machine code of a signature to the first writable folder."""
        _tell()
        reasons = []
        for layer in self._layers:
            try:
                _save(layer, sig, data)
            except OSError as error:
                reasons.append(f"{layer.cache_path}: {error.strerror}")
            else:
                return
        _warn_once("; ".join(reasons) or "there is no source file")


def _save(layer: FunctionCache, sig: Any, data: Any) -> None:
    """Write machine code; OSError if the folder is not writable."""
    try:
        layer.save_overload(sig, data)  # type: ignore[no-untyped-call]
    except OSError:
        raise
    except _DAMAGE:  # the index that is there cannot be read
        layer.flush()  # type: ignore[no-untyped-call]
        layer.save_overload(sig, data)  # type: ignore[no-untyped-call]


def _tell() -> None:
    for listener in _listeners:
        listener()


def _warn_once(reason: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        _log.warning(
            "compiled kernels cannot be cached, so every start compiles them again, up to a minute "
            "(%s); fill a folder with `clickcut warm-up --cache DIR` and set %s=DIR",
            reason,
            ENVIRONMENT,
        )


def _layer(folder: Path, stamp: str) -> type[FunctionCache]:
    """Numba's cache, in this folder, for sources with this stamp."""

    class Locator(_CacheLocator):
        def __init__(self, function: FunctionType) -> None:
            self._line = function.__code__.co_firstlineno

        def get_cache_path(self) -> str:
            return str(folder)

        def get_source_stamp(self) -> str:
            return stamp

        def get_disambiguator(self) -> str:
            return str(self._line)

        @classmethod
        def from_function(cls, py_func: FunctionType, py_file: str) -> Locator:
            return cls(py_func)

    class Implementation(CompileResultCacheImpl):
        _locator_classes = [Locator]  # type: ignore[list-item]  # noqa: RUF012

    class Layer(FunctionCache):
        _impl_class = Implementation

    return Layer


def _stamp(compiled: Dispatcher) -> str:
    """Return a hash of all source files that the machine code of a kernel depends on.

    Numba checks the kernel's own file only, so it would use code that contains an old version of a
    callee. By content and not by time, which changes when files are copied into an image.
    """
    seen: dict[Dispatcher, None] = {}
    parts: set[str] = set()
    waiting = [compiled]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen[current] = None
        function = current.py_func
        parts.add(_digest(Path(function.__code__.co_filename)))
        for name, value in _referenced(function):
            if isinstance(value, Dispatcher):
                waiting.append(value)
            elif isinstance(value, int | float | str | tuple):  # compiled in
                parts.add(f"{name}={value!r}")
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def _referenced(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Yield the globals that a function names, and the attributes of modules that it may use."""
    names = function.__code__.co_names
    for name in names:
        value = function.__globals__.get(name)
        yield name, value
        if isinstance(value, ModuleType) and value.__name__.startswith("clickcut"):
            yield from ((f"{name}.{part}", getattr(value, part, None)) for part in names)


@functools.cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
