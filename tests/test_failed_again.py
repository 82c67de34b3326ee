"""Tests that failed are run once more, and only that makes them pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "run_failed_again.py"

pytestmark = pytest.mark.slow

PASSES = "def test_passes(): pass\n"
FAILS = "def test_fails(): assert False\n"
FAILS_ONCE = """
import pathlib
def test_fails_once():
    mark = pathlib.Path("mark")
    there = mark.exists()
    mark.touch()
    assert there
"""
FAILS_ONCE_AT_ITS_END = """
import pathlib, pytest
@pytest.fixture
def thing():
    yield
    mark = pathlib.Path("mark")
    there = mark.exists()
    mark.touch()
    assert there
def test_fails_at_its_end(thing): pass
"""
SKIPS_THEN = """
import pathlib, pytest
def test_skips():
    mark = pathlib.Path("mark")
    if mark.exists():
        pytest.skip("no more")
    mark.touch()
    assert False
"""
VANISHES = """
import pathlib
mark = pathlib.Path("mark")
def test_fails():
    mark.touch()
    assert False
if mark.exists():
    del test_fails
"""
BREAKS_THE_RUN = """
import pytest
def test_zz():
    pytest.exit("that is all")
"""
CRASHES = """
import os
def test_zz():
    os._exit(1)
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    # Without its plugins pytest starts in a fraction of the time.
    kept |= {"PYTHONPATH": str(ROOT / "tests"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
    )


def both(folder: Path, *modules: str) -> subprocess.CompletedProcess[str]:
    """The second run, after a first one that failed."""
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p exit_status\n")
    for k, module in enumerate(modules):
        (folder / f"test_{k}.py").write_text(module)
    first = run(folder, "-m", "pytest")
    assert first.returncode, first.stdout
    return run(folder, str(SCRIPT))


@pytest.mark.parametrize("module", [FAILS_ONCE, FAILS_ONCE_AT_ITS_END])
def test_one_that_passes_the_second_time_is_named(tmp_path: Path, module: str) -> None:
    again = both(tmp_path, PASSES, module)
    assert again.returncode == 0, again.stdout
    name = "test_1.py::test_fails_" + ("once" if module is FAILS_ONCE else "at_its_end")
    assert again.stdout.endswith(f"disturbed, passed only the second time:\n  {name}\n")


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ((PASSES, FAILS), "failed again: pytest ended with 1, 0 of 1 tests passed"),
        ((FAILS, FAILS_ONCE), "failed again: pytest ended with 1, 1 of 2 tests passed"),
        ((SKIPS_THEN,), "failed again: pytest ended with 0, 0 of 1 tests passed"),
        ((VANISHES,), "failed again: pytest ended with 5, 0 of 1 tests passed"),
        ((FAILS_ONCE, *3 * [FAILS]), "4 failed, and at most 3 may"),
        ((FAILS_ONCE, "import nothing_of_this_name"), "did not reach its end"),
        ((FAILS_ONCE, BREAKS_THE_RUN), "did not reach its end"),
        ((FAILS_ONCE, CRASHES), "did not reach its end"),
        ((), "did not reach its end"),
    ],
)
def test_what_is_no_disturbance_fails(tmp_path: Path, modules: tuple[str, ...], said: str) -> None:
    again = both(tmp_path, *modules)
    assert again.returncode == 1
    assert said in again.stdout


def test_a_crash_after_a_run_with_failures_is_not_taken_for_it(tmp_path: Path) -> None:
    both(tmp_path, FAILS)
    (tmp_path / "test_0.py").write_text(CRASHES)
    assert run(tmp_path, "-m", "pytest").returncode
    again = run(tmp_path, str(SCRIPT))
    assert again.returncode == 1
    assert "did not reach its end" in again.stdout
