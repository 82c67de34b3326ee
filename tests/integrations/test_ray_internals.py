"""What is used of Ray beside its public interface: where, and whether the installed Ray has it."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from server.harness import server_environment

ROOT = Path(__file__).parents[2]
HOME = "integrations/clickcut_scale/ray_internals.py"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray, when it is imported


def private_names(path: Path) -> set[str]:
    """What a module imports of Ray's private names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ray":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.split(".")[0] == "ray"]
        else:
            continue
        found |= {n for n in names if any(part.startswith("_") for part in n.split("."))}
    return found


def test_one_module_uses_private_names_of_ray() -> None:
    sources = [*ROOT.glob("*/clickcut*/**/*.py"), *ROOT.glob("tests/**/test_scale*.py")]
    users = {str(p.relative_to(ROOT)): private_names(p) for p in sources}
    assert {path for path, names in users.items() if names} == {HOME}
    assert users[HOME] == {
        "ray.serve._private.proxy_request_response.ResponseStatus",
        "ray.serve.context._get_global_client",
    }


def test_the_installed_ray_has_what_is_used_of_it() -> None:
    ray = pytest.importorskip("ray")
    from ray.serve._private import client, proxy

    from clickcut_scale.ray_internals import ResponseStatus, end_of_stream

    version = f"changed in Ray {ray.__version__}; see clickcut_scale.ray_internals"
    end = end_of_stream(grpc.StatusCode.NOT_FOUND, "gone")
    assert (end.code, end.message, end.is_error) == (grpc.StatusCode.NOT_FOUND, "gone", True), (
        version
    )
    assert proxy.ResponseStatus is ResponseStatus, version
    taken = inspect.signature(client.ServeControllerClient.deploy_apps).parameters
    assert list(taken)[:2] == ["self", "config"], version
    assert "ServeDeploySchema" in str(taken["config"].annotation), version


@pytest.mark.parametrize(
    "prelude",
    [
        "import sys, ray; sys.modules['ray.serve._private.proxy_request_response'] = None",
        "import ray.serve.context; del ray.serve.context._get_global_client",
    ],
)
def test_another_ray_is_named_with_its_version(prelude: str) -> None:
    """Stands for a version of Ray that lacks a name: the module of the package must say so."""
    ray = pytest.importorskip("ray")
    ended = subprocess.run(
        [sys.executable, "-c", f"{prelude}\nimport clickcut_scale.ray_internals"],
        capture_output=True,
        text=True,
        timeout=120,
        env=server_environment(),
        check=False,
    )
    assert ended.returncode == 1
    assert f"Ray {ray.__version__} is not supported" in ended.stderr.splitlines()[-1]
