"""Write clickcut.json, the dashboard: python deploy/grafana/make.py

Panels are written here in a few words each; Grafana's own format repeats itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("clickcut.json")
SELECTOR = 'job=~"$job",instance=~"$instance"'
SOURCE = {"type": "prometheus", "uid": "${source}"}


def rate(metric: str, by: str) -> str:
    """Per second, summed over instances, by a label."""
    return f"sum by ({by}) (rate({metric}{{{SELECTOR}}}[$__rate_interval]))"


def quantile(of: float, stage: str) -> str:
    """Of the time of a stage, in seconds."""
    chosen = f'{SELECTOR},stage="{stage}"'
    buckets = f"rate(clickcut_stage_seconds_bucket{{{chosen}}}[$__rate_interval])"
    return f"histogram_quantile({of:g}, sum by (le) ({buckets}))"


def commits(of: float) -> str:
    """Quantile of the time in which the store keeps events, in seconds."""
    buckets = f"rate(clickcut_store_commit_seconds_bucket{{{SELECTOR}}}[$__rate_interval])"
    return f"histogram_quantile({of:g}, sum by (le) ({buckets}))"


def mean(by: str = "stage") -> str:
    """Mean time of a request by stage, in seconds."""
    total, count = (f"clickcut_stage_seconds_{part}" for part in ("sum", "count"))
    return f"{rate(total, by)} / {rate(count, by)}"


def gauge(metric: str) -> str:
    """By instance."""
    return f"sum by (instance) ({metric}{{{SELECTOR}}})"


PANELS: tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Requests answered",
        "Per second, by kind.",
        "reqps",
        ((rate("clickcut_requests_total", "kind"), "{{kind}}"),),
    ),
    (
        "Time of a request",
        "From its arrival to its answer, waiting included.",
        "s",
        tuple((quantile(q, "total"), f"p{100 * q:g}") for q in (0.5, 0.95, 0.99)),
    ),
    ("Mean time by stage", "Where the time goes.", "s", ((mean(), "{{stage}}"),)),
    (
        "Waiting for a worker",
        "p95 of the time in the queue, and requests that wait or run.",
        "s",
        ((quantile(0.95, "queue"), "p95"), (gauge("clickcut_unfinished"), "{{instance}} requests")),
    ),
    (
        "Refused by a limit",
        "Per second, by reason: see docs/serving.md.",
        "reqps",
        ((rate("clickcut_refusals_total", "reason"), "{{reason}}"),),
    ),
    (
        "Errors",
        "Per second, by class. ServerError is a fault of the server: its log has the traceback.",
        "reqps",
        ((rate("clickcut_errors_total", "error"), "{{error}}"),),
    ),
    ("Open sessions", "", "short", ((gauge("clickcut_sessions"), "{{instance}}"),)),
    (
        "Memory",
        "Of sessions and of decoded images.",
        "bytes",
        (
            (gauge("clickcut_session_bytes"), "{{instance}} sessions"),
            (gauge("clickcut_image_bytes"), "{{instance}} images"),
        ),
    ),
    ("Decoded images", "", "short", ((gauge("clickcut_images"), "{{instance}}"),)),
    (
        "Models",
        "Sessions and segmentations begun per second, by model.",
        "reqps",
        ((rate("clickcut_model_uses_total", "name, version"), "{{name}}@{{version}}"),),
    ),
    (
        "Sessions recorded",
        "Per second, by outcome, with --record.",
        "ops",
        ((rate("clickcut_records_total", "outcome"), "{{outcome}}"),),
    ),
    (
        "Store: time of a commit",
        "Until the store has events for good; a part of each request with --store.",
        "s",
        tuple((commits(q), f"p{100 * q:g}") for q in (0.5, 0.95, 0.99)),
    ),
    (
        "Store: written, restored",
        "Bytes written per second, and sessions that another engine had begun.",
        "short",
        (
            (rate("clickcut_store_written_bytes_total", "instance"), "{{instance}} bytes"),
            (rate("clickcut_store_restored_sessions_total", "instance"), "{{instance}} sessions"),
        ),
    ),
    (
        "Store: writes",
        "Per second, by kind.",
        "wps",
        ((rate("clickcut_store_writes_total", "kind"), "{{kind}}"),),
    ),
    (
        "Store: errors",
        "Per second, by class. Events that the store refuses are refused, none is lost.",
        "reqps",
        ((rate("clickcut_store_errors_total", "error"), "{{error}}"),),
    ),
)


def panel(number: int, title: str, text: str, unit: str, queries: Any) -> dict[str, Any]:
    """A graph over time, two in a row."""
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "description": text,
        "datasource": SOURCE,
        "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [
            {"refId": chr(ord("A") + k), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for k, (expr, legend) in enumerate(queries)
        ],
    }


def variable(name: str, label: str, query: str) -> dict[str, Any]:
    """A choice of several values of a label."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def dashboard() -> dict[str, Any]:
    """The whole document."""
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "title": "clickcut",
        "uid": "clickcut",
        "tags": ["clickcut"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                source,
                variable("job", "Job", "label_values(clickcut_sessions, job)"),
                variable(
                    "instance", "Engine", 'label_values(clickcut_sessions{job=~"$job"}, instance)'
                ),
            ]
        },
        "panels": [panel(k, *words) for k, words in enumerate(PANELS)],
    }


if __name__ == "__main__":
    TARGET.write_text(json.dumps(dashboard(), indent=1) + "\n")
