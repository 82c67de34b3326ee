"""The dashboard asks for what a server exports, all of it; the documents name it."""

from __future__ import annotations

import importlib.util
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from deploy.documents import DEPLOY, ROOT
from prometheus_client.parser import text_string_to_metric_families
from server.harness import DEADLINE, ServerProcess, image_file, wait_until

from clickcut.client import Client
from clickcut.errors import EventError


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / "clickcut.json").read_text())
    return found


def queries() -> list[str]:
    """Every query of the dashboard, those of its variables included."""
    document = dashboard()
    targets = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    variables = [v["query"] for v in document["templating"]["list"] if v["type"] == "query"]
    return targets + [v["query"] for v in variables]


_SERIES = re.compile(r"(clickcut_\w+)(?:\{([^}]*)\})?")
_BY = re.compile(r"sum by \(([^)]*)\)")
_OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds."""


def exported(server: ServerProcess) -> dict[str, list[dict[str, str]]]:
    """Labels of each sample that the server exports, by the sample's name.

    None of a counter whose labels have had no values yet.
    """
    url = server.line("metrics").split()[1]
    with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
        text = answer.read().decode()
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        if family.type == "counter":
            found[f"{family.name}_total"] = []
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def test_the_dashboard_asks_for_what_a_server_exports(bundle: Path, tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'sessions.db'}"
    records = tmp_path / "records"
    with ServerProcess(bundle, metrics_port=0, store=store, record=records) as server:
        with Client(server.address) as client, client.open(image_file()) as session:
            session.click(80, 60)
            with pytest.raises(EventError):
                session.click(-5, 0)
            client.segment(image_file(), [(80, 60)])
        with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary("/clickcut.v1.Clickcut/Segment")(b"\xff", timeout=DEADLINE)
        wait_until(lambda: any(records.glob("images/*.png")), "the session is recorded")
        samples = exported(server)
    assert queries()
    asked = set()
    for query in queries():
        found = _SERIES.findall(query)
        assert found, query
        for name, selectors in found:
            asked.add(name)
            assert name in samples, f"{name} of {query}"
            if not samples[name]:
                assert name == "clickcut_store_errors_total"  # nothing has failed in this test
                continue
            known = _OF_PROMETHEUS | set().union(*samples[name])
            assert set(re.findall(r"(\w+)=", selectors)) <= known, query
            for label, value in re.findall(r'(\w+)="([^"$]+)"', selectors):
                assert any(labels[label] == value for labels in samples[name]), query
            for labels in _BY.findall(query):
                assert {label.strip() for label in labels.split(",")} <= known, query
    own = {n for n in samples if n.startswith("clickcut_") and not n.endswith("_created")}
    histograms = {n.removesuffix("_bucket") for n in own if n.endswith("_bucket")}
    implied = {f"{name}_{part}" for name in histograms for part in ("sum", "count")}
    assert own - implied <= asked, "metrics that no panel shows"
    told = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    assert not {n for n in own - implied if n.removesuffix("_bucket") not in told}


def test_the_legends_name_labels_that_the_queries_keep() -> None:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            kept = {x.strip() for labels in _BY.findall(target["expr"]) for x in labels.split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept


def test_the_dashboard_is_what_its_script_writes(tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("make", DEPLOY / "grafana" / "make.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.dashboard() == dashboard()
