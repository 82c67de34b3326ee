"""Keep the exit code of a run in pytest's cache, for scripts/run_failed_again.py."""

from __future__ import annotations

import pytest

KEY = "clickcut/exit_status"


def pytest_sessionstart(session: pytest.Session) -> None:
    """No code while it runs: one that crashes has none."""
    _keep(session, None)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    _keep(session, int(exitstatus))


def _keep(session: pytest.Session, code: int | None) -> None:
    cache = getattr(session.config, "cache", None)  # absent with -p no:cacheprovider
    if cache is not None and not hasattr(session.config, "workerinput"):
        cache.set(KEY, code)
