"""Probe a bundle in a child process with limits on time and memory.

The cost of a graph is known only after running it: a small file may take hours or terabytes, and
neither a load nor a prediction can be stopped from within. Graphs of GPUs are probed on the CPU
as well. Not probed are plans, which run only on their GPU, and the bundles that come with the
package.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from clickcut.bundle import bundled_models
from clickcut.errors import BackendError, BundleError, ClickcutError, printable

SECONDS = 60
"""For interpreter, load and first prediction. The paper's VGG16 takes about 5 on one core."""

MAX_MEMORY = 4 * 2**30
"""Address space of the process, bytes; the next constant is added per byte of the file."""

_MEMORY_PER_BYTE = 8
_GRACE_SECONDS = 5
_MAX_HEARD = 4000


def probe(path: Path, seconds: float = SECONDS) -> None:
    """Load a bundle and predict once, in a child process.

    Args:
        path: of the bundle.
        seconds: time limit.

    Raises:
        BackendError: ONNX Runtime is not installed.
        BundleError: the bundle cannot be loaded, fails its first prediction, or does not end within
            the limits.
    """
    if path.suffix == ".plan" or path in bundled_models().values():
        return
    command = [sys.executable, "-P", "-m", "clickcut.backends.probe", str(path), str(seconds)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds + _GRACE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise _endless(path, seconds) from error
    except OSError as error:
        raise BackendError(f"cannot start a process to check {path} ({error.strerror})") from error
    heard = printable(done.stdout.decode("utf-8", "replace").strip()[-_MAX_HEARD:])
    if done.returncode == 0:
        return
    if done.returncode == _REFUSED and heard:
        raise BundleError(heard)
    if done.returncode == _UNAVAILABLE and heard:
        raise BackendError(heard)
    if -done.returncode in (signal.SIGALRM, signal.SIGXCPU):
        raise _endless(path, seconds)
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    raise BundleError(
        f"{path}: the process that loaded it to check it ended with {how}: its graph takes more "
        "memory than a model of this size may, or breaks ONNX Runtime"
    )


def _endless(path: Path, seconds: float) -> BundleError:
    return BundleError(
        f"{path}: its first prediction does not end within {seconds:g} seconds; export the model "
        "again, or smaller"
    )


# ---- in the process

_REFUSED, _UNAVAILABLE = 3, 4


def _limit(path: Path, seconds: float) -> None:
    """Limit the time and memory of this process, even if its parent has ended."""
    if hasattr(signal, "alarm"):
        signal.alarm(max(1, round(seconds)))  # its default action ends native code as well
    try:
        import resource

        memory = MAX_MEMORY + _MEMORY_PER_BYTE * path.stat().st_size
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            memory = min(memory, hard)
        resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass  # no such limits on this system, or no such file, which loading reports


def main(path: Path, seconds: float) -> int:
    """Load and predict within the limits; print errors to standard output."""
    _limit(path, seconds)
    from clickcut.backends.onnx_runtime import OnnxPredictor

    try:
        OnnxPredictor(path, threads=1).warm_up()
    except BackendError as error:
        print(error)
        return _UNAVAILABLE
    except ClickcutError as error:
        print(error)
        return _REFUSED
    except MemoryError:
        print(f"{path}: its graph takes more memory than a model of this size may")
        return _REFUSED
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), float(sys.argv[2])))
