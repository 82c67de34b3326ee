"""What deploy/Dockerfile does, without Docker: the same script, variables, user and read-only root.

The script fetches packages, as the build of the image does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy.documents import DEPLOY, ROOT, image_environment, instructions, last_stage
from server.harness import wait_until

from clickcut.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PREFIX_IN_IMAGE = "/opt/clickcut"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the script fills, called as the Dockerfile calls it."""
    ((_, command),) = [(a, b) for a, b in instructions() if a == "RUN" and "install.sh" in b]
    assert f"sh deploy/install.sh /src {PREFIX_IN_IMAGE}" in command
    folder = tmp_path_factory.mktemp("image")
    folder.chmod(0o755)
    made = folder / "clickcut"
    done = subprocess.run(
        ["sh", DEPLOY / "install.sh", ROOT, made],
        env=outside() | {"PYTHON": sys.executable, "UV": f"{sys.executable} -m uv"},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr
    assert "all kernels are cached" in done.stdout
    return made


def outside() -> dict[str, str]:
    """Variables of this machine that an installation needs, for a build of one processor kind."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CLICKCUT_", "PYTHON"))}
    return kept | {"NUMBA_CPU_NAME": image_environment()["NUMBA_CPU_NAME"]}


class Container:
    """Runs commands as the container would: its variables and user, nothing to be written."""

    def __init__(self, prefix: Path) -> None:
        user, _, group = dict(last_stage())["USER"].partition(":")
        drop = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        # Only so that an interpreter below root's home can be read.
        drop += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
        read_only = 'mount --make-rprivate / && mount -o remount,ro,bind / && exec "$@"'
        self._way = ["unshare", "--mount", "sh", "-c", read_only, "sh", *drop]
        self._prefix = prefix

    def check(self) -> None:
        """Skip where this cannot be done."""
        if os.geteuid() or not all(map(shutil.which, ("unshare", "setpriv"))):
            pytest.skip("needs root, unshare and setpriv")
        probe = self.run("sh", "-c", f"! touch {self._prefix}/x && ! touch /tmp/x && id -u")
        if probe.returncode or probe.stdout.strip() != dict(last_stage())["USER"].split(":")[0]:
            pytest.skip(f"no read-only root here: {probe.stderr}")

    @property
    def environment(self) -> dict[str, str]:
        """Those of the image, its folder replaced; none of this machine's."""
        given = {k: v.replace("${PATH}", "/usr/bin:/bin") for k, v in image_environment().items()}
        return {k: v.replace(PREFIX_IN_IMAGE, str(self._prefix)) for k, v in given.items()}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._way, *words],
            env=self.environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=400,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._way, *words],
            env=self.environment,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def container(prefix: Path) -> Container:
    made = Container(prefix)
    made.check()
    return made


@pytest.fixture
def engine(container: Container) -> Iterator[tuple[subprocess.Popen[str], list[dict[str, Any]]]]:
    """The image's entry point and command, on ports that are free here; its log."""
    stage = dict(last_stage())
    words = [*json.loads(stage["ENTRYPOINT"]), *json.loads(stage["CMD"])]
    process = container.start(*words, "--address", "127.0.0.1:0", "--metrics-port", "0")
    log: list[dict[str, Any]] = []

    def read() -> None:
        for line in process.stderr or ():
            log.append(json.loads(line))  # every line, from the first to the last

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield process, log
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def message(log: list[dict[str, Any]], start: str) -> str:
    wait_until(lambda: any(e["message"].startswith(start) for e in log), f"it says {start!r}")
    return str(next(e["message"] for e in log if e["message"].startswith(start)))


def test_the_container_serves_and_stops_in_time(
    container: Container, engine: tuple[subprocess.Popen[str], list[dict[str, Any]]]
) -> None:
    process, log = engine
    address = message(log, "address").split()[1]
    message(log, "serving")
    with Client(address) as client:
        mask = client.segment(
            ROOT / "engine" / "clickcut" / "assets" / "astronaut.jpg", [(190, 330)]
        )
    assert mask.any()
    healthy = container.run("clickcut", "health", address)
    assert (healthy.returncode, healthy.stdout) == (0, "SERVING\n"), healthy.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert message(log, "stopped")
    assert not [e for e in log if e["level"] in ("warning", "error", "critical")]


def test_kernels_are_read_and_give_the_expected_masks(container: Container) -> None:
    done = container.run("clickcut", "doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    of = {f["check"]: f for f in report["findings"]}
    assert of["kernels"]["data"]["compiled"] == 0
    assert of["kernels"]["data"]["read"] > 10
    assert "expected mask" in of["self-test"]["message"]


def test_no_server_is_not_healthy(container: Container) -> None:
    done = container.run("clickcut", "health", "127.0.0.1:1")
    assert done.returncode == 1
    assert "no connection" in done.stdout
