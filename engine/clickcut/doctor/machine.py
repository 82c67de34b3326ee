"""Checks of the installation and the machine. They import what they examine, and nothing else."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clickcut.doctor.findings import Finding
from clickcut.installation import opencv_fault

_PACKAGES = (
    *("numpy", "numba", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu"),
    *("grpcio", "protobuf", "pydantic", "prometheus-client", "tensorrt", "opentelemetry-sdk"),
)
_FEATURES = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
"""Instruction sets that make a difference, as Linux names them."""
_MIB = 2**20
_ENOUGH_MEMORY = 1024 * _MIB
"""For a server with the bundled models, some images and sessions."""
_ENOUGH_FILES = 1024


def versions() -> Iterator[Finding]:
    """Yield the versions of everything that computes or talks."""
    found: dict[str, object] = {"python": platform.python_version(), "system": platform.platform()}
    for name in ("clickcut", *_PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    text = ", ".join(f"{name} {number}" for name, number in found.items())
    yield Finding("versions", "ok", text, data=found)
    if fault := opencv_fault():
        yield Finding("versions", "error", "OpenCV cannot be used", fault)
    if "onnxruntime" in found and "onnxruntime-gpu" in found:
        yield Finding(
            "versions",
            "error",
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files",
            "pip uninstall onnxruntime onnxruntime-gpu, then install one of the two",
        )


def processor() -> Iterator[Finding]:
    """Yield the processor as this process may use it."""
    from clickcut.processor import available_cores, available_cpus, features, name, quotas

    usable = [feature for feature in _FEATURES if feature in features()]
    quota = min(quotas(), default=None)
    data: dict[str, object] = {
        "name": name(),
        "features": usable,
        "machine_cpus": os.cpu_count(),
        "available_cpus": available_cpus(),
        "threads_per_prediction": available_cores(),
        "quota": quota,
        "numba_cpu": os.environ.get("NUMBA_CPU_NAME", ""),
    }
    limited = f", a quota of {quota:g}" if quota is not None else ""
    text = (
        f"{name()}; {available_cpus()} of {os.cpu_count()} CPUs{limited}; "
        f"{', '.join(usable) or 'no instruction sets known'}"
    )
    if quota is not None and quota < 1:
        advice = "give the container at least one CPU: a click computes for tens of milliseconds"
        yield Finding("processor", "warning", text, advice, data)
    elif platform.machine() in ("x86_64", "AMD64") and features() and "avx2" not in features():
        advice = "use a processor with AVX2, or expect several times the latency"
        yield Finding("processor", "warning", text, advice, data)
    else:
        yield Finding("processor", "ok", text, data=data)


def back_ends() -> Iterator[Finding]:
    """Yield which back-ends can be used; that of the CPU must be."""
    from clickcut.backends import BACKENDS, why_unavailable

    reasons = {backend: why_unavailable(backend) for backend in BACKENDS}
    usable = [backend for backend, reason in reasons.items() if not reason]
    data: dict[str, object] = {
        "usable": usable,
        "unavailable": {b: r for b, r in reasons.items() if r},
    }
    if reasons["onnxruntime-cpu"]:
        yield Finding("back-ends", "error", "none for the CPU", reasons["onnxruntime-cpu"], data)
        return
    yield Finding("back-ends", "ok", ", ".join(usable), data=data)
    if _installed("onnxruntime-gpu") and reasons["onnxruntime-cuda"]:
        yield Finding(
            "back-ends",
            "error",
            "onnxruntime-gpu is installed, and cannot use a GPU",
            reasons["onnxruntime-cuda"],
        )


def _installed(distribution: str) -> bool:
    try:
        return bool(version(distribution))
    except PackageNotFoundError:
        return False


def memory() -> Iterator[Finding]:
    """Yield the limit of the memory, and what is free."""
    from clickcut.control_groups import read_text
    from clickcut.server.memory import memory_limit

    limit = memory_limit()
    fields = dict(
        line.split(":", 1) for line in read_text(Path("/proc/meminfo")).splitlines() if ":" in line
    )
    words = fields.get("MemAvailable", "").split()
    free = int(words[0]) * 1024 if words and words[0].isdecimal() else None
    data: dict[str, object] = {"limit_bytes": limit, "available_bytes": free}
    text = f"limit {limit // _MIB} MiB"
    if free is not None:
        text += f", {free // _MIB} MiB of the machine's are free"
    if limit < _ENOUGH_MEMORY:
        advice = (
            f"give the container at least {_ENOUGH_MEMORY // _MIB} MiB, or serve one model only "
            "(--model) with a smaller --max-image-megapixels"
        )
        yield Finding("memory", "warning", text, advice, data)
    elif free is not None and free < _ENOUGH_MEMORY // 2:
        advice = "end other programs: the system may kill the server when memory runs out"
        yield Finding("memory", "warning", text, advice, data)
    else:
        yield Finding("memory", "ok", text, data=data)


def open_files() -> Iterator[Finding]:
    """Yield how many files, and so connections, the process may have open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    text = f"{'unlimited' if unlimited else hard} open files, so connections"
    data: dict[str, object] = {"hard_limit": None if unlimited else hard}
    if not unlimited and hard < _ENOUGH_FILES:
        advice = f"raise it (ulimit -Hn, LimitNOFILE=, --ulimit nofile) to {_ENOUGH_FILES} or more"
        yield Finding("open files", "warning", text, advice, data)
    else:
        yield Finding("open files", "ok", text, data=data)


def caches() -> Iterator[Finding]:
    """Yield where compiled kernels are kept."""
    from clickcut import cut, kernels

    folders = kernels.folders(Path(cut.__file__))
    states = [{"folder": str(f), "entries": _entries(f), "writable": _writable(f)} for f in folders]
    data: dict[str, object] = {"folders": states, "chosen": os.environ.get(kernels.ENVIRONMENT, "")}
    text = "; ".join(
        f"{s['folder']} ({s['entries']} kernels, {'writable' if s['writable'] else 'read-only'})"
        for s in states
    )
    if any(s["writable"] or s["entries"] for s in states):
        yield Finding("caches", "ok", text, data=data)
        return
    yield Finding(
        "caches",
        "warning",
        f"compiled kernels cannot be kept, so each start takes up to a minute: {text}",
        f"fill a folder when the image is built, clickcut warm-up --cache DIR, and set "
        f"{kernels.ENVIRONMENT}=DIR",
        data,
    )


def _entries(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.nbi")) if folder.is_dir() else 0


def _writable(folder: Path) -> bool:
    """Return whether files can be created in a folder, which may have to be created first."""
    existing: Iterable[Path] = (f for f in (folder, *folder.parents) if f.exists())
    return os.access(next(iter(existing)), os.W_OK | os.X_OK)
