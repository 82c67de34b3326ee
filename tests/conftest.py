"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from exit_status import pytest_sessionfinish, pytest_sessionstart  # noqa: F401
from hypothesis import settings

from clickcut.bundle import bundled_models

if TYPE_CHECKING:
    from server.fault_run import FaultRun
    from server.harness import ServerProcess

settings.register_profile("without deadlines", deadline=None)  # a busy machine fails no test
settings.load_profile("without deadlines")

SHARED = Path(__file__).parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full-faults",
        metavar="PART/PARTS",
        help="with the numbers of faults of the nightly run (make test-faults), or a part of them: "
        "1/1 is all, 1/5 to 5/5 add up to it with different seeds",
    )


@pytest.fixture(scope="session")
def fault_run(pytestconfig: pytest.Config) -> FaultRun:
    """How long tests of faults run."""
    from server.fault_run import FaultRun

    text = pytestconfig.getoption("--full-faults")
    if text is None:
        return FaultRun()
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise pytest.UsageError(f"--full-faults is PART/PARTS, such as 2/5, not {text!r}")
    return FaultRun(True, int(part), int(parts))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real photographs beside the repository; tests that need it skip without it."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the photographs of ../shared/data are not here")
    return SHARED / "data"


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Folder of initial weights beside the repository; tests that need it skip without it."""
    if not (SHARED / "weights").is_dir():
        pytest.skip("the weights of ../shared/weights are not here")
    return SHARED / "weights"


@pytest.fixture(scope="session")
def default_bundle() -> Path:
    """The model that ships."""
    return bundled_models()["default"]


@pytest.fixture
def free_address() -> Iterator[str]:
    """An address that stays this test's, whether a server listens there or not."""
    from server.harness import reserved_address

    with reserved_address() as address:
        yield address


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle for servers."""
    from server.harness import write_bundle

    return write_bundle(tmp_path_factory.mktemp("model") / "toy.onnx")


@pytest.fixture(scope="session")
def server(bundle: Path) -> Iterator[ServerProcess]:
    """One server for all tests that do not harm it."""
    from server.harness import ServerProcess

    with ServerProcess(bundle, max_message_mib=8, max_image_mib=24) as process:
        yield process
        assert process.process.poll() is None, process.errors
