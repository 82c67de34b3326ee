"""A pytest plugin: kernels run as plain Python, and it fails when one of them was not called.

    NUMBA_DISABLE_JIT=1 PYTHONPATH=tests python -m pytest -p without_jit -m kernels

It must be loaded before the first import of clickcut.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil

import numba
import pytest

made: set[str] = set()
called: set[str] = set()


def njit(*functions, **_options):
    """In place of `numba.njit`: note which functions are kernels, and which of them are called."""

    def decorate(function):
        name = f"{function.__module__}.{function.__name__}"
        made.add(name)

        @functools.wraps(function)
        def kernel(*arguments):
            called.add(name)
            return function(*arguments)

        return kernel

    return decorate(functions[0]) if functions else decorate


assert os.environ.get("NUMBA_DISABLE_JIT") == "1", "set NUMBA_DISABLE_JIT=1"
numba.njit = njit


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    for package in ("clickcut", "clickcut_eval"):
        paths = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(paths, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    if missing := made - called:
        print(f"\nkernels that no test called: {', '.join(sorted(missing))}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    else:
        print(f"\n{len(made)} kernels ran without the compiler")
