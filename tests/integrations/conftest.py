"""Fixtures of the page's tests: an engine, the page's server, a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integrations.page_harness import PageProcess, Window
from server.harness import ServerProcess

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def engine(default_bundle: Path) -> Iterator[ServerProcess]:
    """An engine with the model that ships, for all tests that do not harm it."""
    with ServerProcess(default_bundle) as process:
        yield process


@pytest.fixture(scope="session")
def page_server(engine: ServerProcess) -> Iterator[PageProcess]:
    """The page's server for that engine."""
    with PageProcess("--server", engine.address) as process:
        yield process


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright; tests skip where one of them is absent.

    For one module: Playwright's event loop runs as long as it does, and `asyncio.run` of the tests
    that follow would refuse to start beside it.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield found
        found.close()


@pytest.fixture
def window(browser: Any, page_server: PageProcess) -> Iterator[Window]:
    """A window with the page; a script error in it fails the test."""
    with Window.of(browser, page_server.url) as opened:
        yield opened
