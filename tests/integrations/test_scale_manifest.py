"""The manifest for KubeRay, checked without a cluster: what it says must fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray Serve is not installed (extra scale)")
yaml = pytest.importorskip("yaml")

# Ray warns when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FOLDER = Path(__file__).parents[2] / "deploy" / "kuberay"
MANIFEST = FOLDER / "rayservice.yaml"


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(MANIFEST.read_text())
    return document


@pytest.fixture(scope="module")
def config(manifest: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    return document


def container(group: dict[str, Any]) -> dict[str, Any]:
    (found,) = group["template"]["spec"]["containers"]
    return found


def mib(quantity: str) -> int:
    assert quantity.endswith("Gi")
    return 1024 * int(quantity.removesuffix("Gi"))


def test_ray_takes_the_configuration(config: dict[str, Any]) -> None:
    from ray.serve.schema import ServeDeploySchema

    parsed = ServeDeploySchema.model_validate(config)
    (application,) = parsed.applications
    assert [d.name for d in application.deployments] == ["engine"]


def test_it_names_what_the_code_has(config: dict[str, Any]) -> None:
    import importlib

    from clickcut_scale.application import DEPLOYMENT, NAME, SERVICES, Arguments, configuration
    from clickcut_scale.replica import settings_with

    (application,) = config["applications"]
    (deployment,) = application["deployments"]
    args = Arguments(**application["args"])
    own = configuration(args, deployment["user_config"])["applications"][0]
    assert application.keys() == own.keys()
    assert {k: application[k] for k in ("name", "route_prefix", "import_path")} == {
        k: own[k] for k in ("name", "route_prefix", "import_path")
    }
    assert application["name"] == NAME
    assert deployment["name"] == DEPLOYMENT
    module, _, builder = application["import_path"].partition(":")
    assert callable(getattr(importlib.import_module(module), builder))
    assert tuple(config["grpc_options"]["grpc_servicer_functions"]) == SERVICES
    settings_with(args.settings, deployment["user_config"])


def test_a_replica_fits_into_a_pod(manifest: dict[str, Any], config: dict[str, Any]) -> None:
    from clickcut_scale.application import Arguments

    args = Arguments(**config["applications"][0]["args"])
    (workers,) = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    resources = container(workers)["resources"]
    assert float(resources["requests"]["cpu"]) >= args.cpus
    assert mib(resources["limits"]["memory"]) >= args.settings["memory_mib"] + 1536
    grace = workers["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > args.drain_seconds
    assert (workers["minReplicas"], workers["maxReplicas"]) == (
        args.min_replicas,
        args.max_replicas,
    )
    assert args.sessions_per_replica < args.settings["max_sessions"]


def test_ports_and_images_are_the_same_everywhere(
    manifest: dict[str, Any], config: dict[str, Any]
) -> None:
    cluster = manifest["spec"]["rayClusterConfig"]
    containers = [container(g) for g in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    images = {c["image"] for c in containers}
    assert len(images) == 1
    version = cluster["rayVersion"]
    assert images.pop().endswith(f":{version}")
    assert f"FROM rayproject/ray:{version}-" in (FOLDER / "Dockerfile").read_text()
    for c in containers:
        ports = {p["name"]: p["containerPort"] for p in c["ports"]}
        assert ports["serve-grpc"] == config["grpc_options"]["port"]
        assert ports["serve"] == config["http_options"]["port"]
