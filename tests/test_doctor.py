"""`clickcut doctor`: what works is ok, what does not is named, with what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from server.harness import ServerProcess, write_bundle
from typer.testing import CliRunner

from clickcut.backends import load_predictor
from clickcut.bundle import bundled_models
from clickcut.commands.doctor import app
from clickcut.doctor import machine
from clickcut.doctor.self_test import CLICKS, expected_mask, iou, photograph
from clickcut.images import prepare
from clickcut.session import ClickSession

MIB = 2**20


def doctor(*words: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings of the command; whoever is not well is told what to do."""
    done = CliRunner().invoke(app, ["--json", *words])
    report = json.loads(done.stdout)
    assert report["ok"] == (done.exit_code == 0)
    assert all(f["advice"] for f in report["findings"] if f["status"] != "ok")
    return done.exit_code, report["findings"]


def of(findings: list[dict[str, Any]], check: str) -> list[dict[str, Any]]:
    return [f for f in findings if f["check"] == check]


def doctor_process(prelude: str, *words: str) -> tuple[int, str, str]:
    """In a process of its own, where packages can be made to be missing."""
    code = f"{prelude}\nfrom clickcut.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", *words], capture_output=True, text=True, timeout=400
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_an_installation_that_works() -> None:
    code, findings = doctor()
    assert code == 0
    tests = of(findings, "self-test")
    assert {f["data"]["model"].partition("@")[0] for f in tests} == set(bundled_models())
    assert all("with the expected mask" in f["message"] for f in tests)
    assert all(f["data"]["later_click_ms"] > 0 for f in tests)
    (versions,) = of(findings, "versions")
    assert versions["data"]["numpy"] == np.__version__


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_the_expected_mask_is_that_of_the_model_that_ships(name: str) -> None:
    predictor = load_predictor(bundled_models()[name])
    expected = expected_mask(predictor.metadata)
    assert expected is not None, "run scripts/expected_masks.py"
    session = ClickSession(prepare(photograph()), predictor)
    for click in CLICKS:
        session.click(*click)
    assert iou(session.mask, expected) > 0.995


def test_a_model_that_selects_something_else(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "toy.onnx", radius=2)
    code, findings = doctor("--model", str(path))
    assert code == 1
    (test,) = of(findings, "self-test")
    assert test["status"] == "error"
    assert "no mask is expected" in test["message"]
    assert f"clickcut models verify {path}" in test["advice"]


def test_one_broken_model_does_not_hide_the_other(tmp_path: Path) -> None:
    broken, good = tmp_path / "broken.onnx", write_bundle(tmp_path / "toy.onnx")
    broken.write_bytes(good.read_bytes()[:-100])
    code, findings = doctor("--model", str(broken), "--model", str(good))
    assert code == 1
    first, second = of(findings, "self-test")
    assert first["status"] == "error"
    assert str(broken) in first["advice"]
    assert second["data"]["model"] == "toy@1"


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("onnxruntime", "pip install 'clickcut[cpu]'"),
        ("cv2", "pip install opencv-python-headless"),
        ("numba", "pip install --force-reinstall"),
    ],
)
def test_a_package_that_is_missing_is_named(module: str, advice: str) -> None:
    code, out, errors = doctor_process(f"import sys; sys.modules[{module!r}] = None")
    assert code == 1
    assert advice in out
    assert "findings are errors" in out.splitlines()[-1]
    assert "processor" in out  # the other checks ran
    assert errors == ""


def test_two_packages_that_overwrite_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "version", lambda name: "1.2.3")
    faults = [f for f in machine.versions() if f.status == "error"]
    assert "overwrite each other" in faults[0].message


def test_a_small_machine_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clickcut.processor.quotas", lambda *_: [0.5])
    monkeypatch.setattr("clickcut.server.memory.memory_limit", lambda: 300 * MIB)
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (256, 512))
    checks = (machine.processor, machine.memory, machine.open_files)
    found = [next(iter(check())) for check in checks]
    assert [f.status for f in found] == ["warning"] * 3
    assert "at least one CPU" in found[0].advice
    assert "1024 MiB" in found[1].advice
    assert "nofile" in found[2].advice


def test_kernels_that_cannot_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLICKCUT_CACHE", str(tmp_path / "new" / "folder"))
    (found,) = machine.caches()
    assert found.status == "ok"
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    (found,) = machine.caches()
    assert found.status == "warning"
    assert "clickcut warm-up --cache DIR" in found.advice


# ---- a server


@pytest.mark.slow
def test_a_server_that_works(default_bundle: Path) -> None:
    with ServerProcess(default_bundle) as server:
        code, findings = doctor("--server", server.address, "--model", "default")
    assert code == 0
    state, selection = of(findings, "server")
    assert state["data"]["health"] == "SERVING"
    assert "IoU 1.000 with the expected mask" in selection["message"]


@pytest.fixture
def not_serving() -> Iterator[str]:
    service = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, service)
    port = service.add_insecure_port("127.0.0.1:0")
    service.start()
    yield f"127.0.0.1:{port}"
    service.stop(None)


@pytest.mark.slow
def test_servers_that_do_not_serve(not_serving: str, bundle: Path) -> None:
    model = "--model", str(bundle)
    code, findings = doctor("--server", not_serving, *model)
    assert code == 1
    state, selection = of(findings, "server")
    assert "NOT_SERVING" in state["message"]
    assert selection["status"] == "error"
    code, findings = doctor("--server", "127.0.0.1:1", *model)
    assert "clickcut serve" in of(findings, "server")[0]["advice"]
    code, findings = doctor("--server", "http://x", *model)
    assert "HOST:PORT" in of(findings, "server")[0]["advice"]


def test_a_bad_option_is_no_finding() -> None:
    code, out, errors = doctor_process("", "--srever", "x")
    assert (code, out) == (2, "")
    assert "srever" in errors
