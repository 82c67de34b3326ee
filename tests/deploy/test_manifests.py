"""Dockerfile, compose file and manifests: every flag exists, every port and time fits.

Schemas are checked by `make lint-deploy`, which fetches them.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy.documents import (
    DEPLOY,
    ROOT,
    compose,
    documents,
    image_environment,
    instructions,
    last_stage,
    manifest,
    parse,
    pods,
    settings,
)

ENGINE = "engine"


def engine_container() -> tuple[dict[str, Any], dict[str, Any]]:
    pod = manifest("Deployment", ENGINE)["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


# ---- the image


def test_the_image_runs_unprivileged_and_says_which_ports_it_uses() -> None:
    stage = dict(last_stage())
    user, _, group = stage["USER"].partition(":")
    assert int(user) > 0  # a number: Kubernetes can check that it is not root
    assert int(group) > 0
    chosen = settings(json.loads(stage["CMD"]), {})
    assert chosen.host == "0.0.0.0"
    assert {str(port_of(chosen.address)), str(chosen.metrics_port)} == set(stage["EXPOSE"].split())
    assert chosen.log_format == "json"
    assert json.loads(stage["ENTRYPOINT"]) == ["clickcut"]
    check = json.loads(re.search(r"CMD (.*)", stage["HEALTHCHECK"])[1])
    assert port_of(parse(check[1:])["address"]) == port_of(chosen.address)


def test_the_image_installs_extras_that_exist() -> None:
    arguments = dict(text.split("=", 1) for name, text in instructions() if "=" in text)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert set(arguments["EXTRAS"].split(",")) <= extras.keys()


def test_every_variable_of_clickcut_in_the_image_is_one() -> None:
    known = {"CLICKCUT_CACHE"}
    from clickcut.server.settings import Settings

    fields = {f"CLICKCUT_{name.upper()}" for name in Settings.model_fields}
    given = {name for name in image_environment() if name.startswith("CLICKCUT_")}
    for service in compose()["services"].values():
        given |= {k for k in service.get("environment", {}) if k.startswith("CLICKCUT_")}
    for _, pod in pods():
        given |= {v["name"] for c in pod["containers"] for v in c.get("env", ())}
    assert given <= fields | known


def test_what_the_wheel_is_built_from_reaches_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {
        *project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"],
        *project["project"]["license-files"],
        project["project"]["readme"],
        *("pyproject.toml", "deploy/install.sh"),
    }
    for path in sorted(needed):
        parts = Path(path).parts
        ways = {"/".join(parts[:k]) for k in range(1, len(parts) + 1)}
        assert ways & let_in, f"{path} is not in .dockerignore"


# ---- compose


OURS = sorted(name for name, s in compose()["services"].items() if s["image"] == "clickcut")


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_compose_is_started_with_options_that_exist(name: str) -> None:
    service = compose()["services"][name]
    options = parse(service["command"])
    if "server" in options:  # it reaches the engine by its name
        assert options["server"] == f"{ENGINE}:{engine_port()}"
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def engine_port() -> int:
    service = compose()["services"][ENGINE]
    return port_of(settings(service["command"], service["environment"]).address)


def test_compose_waits_longer_than_the_engine_drains() -> None:
    service = compose()["services"][ENGINE]
    chosen = settings(service["command"], service["environment"])
    grace = float(service["stop_grace_period"].removesuffix("s"))
    assert grace > chosen.drain_seconds + chosen.stop_seconds


def test_compose_publishes_ports_that_are_listened_on() -> None:
    services = compose()["services"]
    chosen = settings(services[ENGINE]["command"], services[ENGINE]["environment"])
    listened = {port_of(chosen.address), chosen.metrics_port}
    published = {port_of(text) for text in services[ENGINE]["ports"]}
    assert published == listened
    assert all(
        text.startswith("127.0.0.1:") for s in services.values() for text in s.get("ports", ())
    )
    page = parse(services["page"]["command"])
    assert [port_of(text) for text in services["page"]["ports"]] == [page["port"]]
    assert page["host"] == "0.0.0.0"


def test_every_service_depends_on_services_that_have_a_health() -> None:
    services = compose()["services"]
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                checked = services[name].get("healthcheck", {})
                assert "disable" not in checked
                assert checked or services[name]["image"] == "clickcut"


# ---- Kubernetes


def test_probes_are_of_grpc_and_ask_for_services_that_the_server_has() -> None:
    from clickcut.server.service import NAME

    _, container = engine_container()
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    chosen = engine_settings()
    assert ports == {"grpc": port_of(chosen.address), "metrics": chosen.metrics_port}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container[kind]["grpc"]
        assert probe["port"] == ports["grpc"]
        assert probe.get("service", "") in ("", NAME)
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120  # all kernels compiled


def engine_settings() -> Any:
    _, container = engine_container()
    environment = {v["name"]: v["value"] for v in container["env"]}
    return settings(container["args"], environment)


def test_the_grace_is_longer_than_the_engine_drains_and_stops() -> None:
    pod, _ = engine_container()
    chosen = engine_settings()
    assert pod["terminationGracePeriodSeconds"] > chosen.drain_seconds + chosen.stop_seconds


def test_one_proxy_may_have_all_sessions() -> None:
    chosen = engine_settings()
    assert chosen.max_sessions_per_host == chosen.max_sessions


def test_every_pod_is_restricted() -> None:
    for name, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for container in pod["containers"]:
            limits = container["securityContext"]
            assert limits["readOnlyRootFilesystem"], name
            assert not limits["allowPrivilegeEscalation"]
            assert limits["capabilities"]["drop"] == ["ALL"]
            assert "memory" in container["resources"]["limits"]


def test_services_select_pods_and_ports_that_are_there() -> None:
    labels = {
        document["metadata"]["name"]: document["spec"]["template"]["metadata"]["labels"]
        for name, _ in pods()
        for document in [workload(name)]
    }
    ports = {
        name: {p["name"] for c in pod["containers"] for p in c["ports"]} for name, pod in pods()
    }
    for service in ("engine", "clickcut", "redis"):
        spec = manifest("Service", service)["spec"]
        (target,) = [n for n, has in labels.items() if spec["selector"].items() <= has.items()]
        assert {p["targetPort"] for p in spec["ports"]} <= ports[target]


def workload(name: str) -> dict[str, Any]:
    kind = "StatefulSet" if name == "redis" else "Deployment"
    return manifest(kind, name)


def test_the_store_is_the_redis_that_is_there() -> None:
    (port,) = manifest("Service", "redis")["spec"]["ports"]
    assert engine_settings().store == f"redis://redis:{port['port']}/0"
    assert compose()["services"]["engine"]["command"][2] == "redis://redis:6379/0"
    engine = compose()["services"]["engine"]
    for words, chosen in (
        (
            workload("redis")["spec"]["template"]["spec"]["containers"][0]["args"],
            engine_settings(),
        ),
        (
            compose()["services"]["redis"]["command"],
            settings(engine["command"], engine["environment"]),
        ),
    ):
        room = int(words[words.index("--maxmemory") + 1].removesuffix("mb"))
        assert chosen.store_mib + chosen.store_image_mib < 0.9 * room, "its own data needs some too"
        assert words[words.index("--maxmemory-policy") + 1] == "noeviction"
        assert words[words.index("--appendonly") + 1] == "yes"


# ---- Envoy


def envoy_config() -> dict[str, Any]:
    (found,) = documents(DEPLOY / "kubernetes" / "envoy-config.yaml")
    return found


def test_envoy_reaches_each_engine_and_hashes_the_key_that_clients_send() -> None:
    from clickcut.client.routing import ROUTING_KEY
    from clickcut.server.service import NAME

    resources = envoy_config()["static_resources"]
    (cluster,) = resources["clusters"]
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    service = manifest("Service", "engine")
    assert service["spec"]["clusterIP"] == "None"  # else Envoy would see one address
    assert address["socket_address"]["address"] == service["metadata"]["name"]
    assert address["socket_address"]["port_value"] == service["spec"]["ports"][0]["port"]
    assert cluster["lb_policy"] == "RING_HASH"
    assert cluster["health_checks"][0]["grpc_health_check"]["service_name"] == NAME
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    route = manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    assert route["cluster"] == cluster["name"]
    assert route["timeout"] == "0s"
    assert route["hash_policy"][0]["header"]["header_name"] == ROUTING_KEY
    listener = resources["listeners"][0]["address"]["socket_address"]
    envoy = manifest("Deployment", "envoy")["spec"]["template"]["spec"]["containers"][0]
    assert {p["containerPort"] for p in envoy["ports"]} == {listener["port_value"]}
    assert (DEPLOY / "kubernetes" / Path(envoy["args"][1]).name).is_file()


# ---- all of them


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda p: p.name)
def test_no_key_is_given_twice(path: Path) -> None:
    """YAML's last one would win silently."""

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        keys = [k.value for k, _ in node.value if k.value != "<<"]
        assert len(keys) == len(set(keys)), f"{path.name}: {keys}"
        loader.flatten_mapping(node)
        return dict(loader.construct_pairs(node, deep=True))

    Strict.add_constructor("tag:yaml.org,2002:map", mapping)
    for _ in yaml.load_all(path.read_text(), Strict):
        pass


def test_the_script_is_one_of_sh() -> None:
    subprocess.run(["sh", "-n", DEPLOY / "install.sh"], check=True)
