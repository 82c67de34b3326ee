"""The files in deploy/, read: the Dockerfile's instructions, YAML, the command line they use."""

from __future__ import annotations

import importlib
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
import yaml

from clickcut import cli
from clickcut.server.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile, each with its arguments in one line."""
    lines = [x for x in (DEPLOY / "Dockerfile").read_text().splitlines() if not x.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(a, b.strip()) for a, _, b in (x.partition(" ") for x in joined.splitlines() if x)]


def last_stage() -> list[tuple[str, str]]:
    """Instructions of the image that runs."""
    all_of_them = instructions()
    begins = max(k for k, (name, _) in enumerate(all_of_them) if name == "FROM")
    return all_of_them[begins:]


def image_environment() -> dict[str, str]:
    """Variables that the image sets; build arguments have their defaults."""
    arguments = dict(
        text.split("=", 1) for name, text in instructions() if name == "ARG" and "=" in text
    )
    found = {}
    for name, text in last_stage():
        if name == "ENV":
            found |= dict(word.split("=", 1) for word in shlex.split(text))
    return {key: arguments.get(value[2:-1], value) for key, value in found.items()}  # ${NAME}


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def compose() -> dict[str, Any]:
    (found,) = documents(DEPLOY / "compose.yaml")
    return found


def manifests() -> list[dict[str, Any]]:
    """Every object of Kubernetes that the kustomization lists."""
    (listed,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    return [
        document
        for name in listed["resources"]
        for document in documents(DEPLOY / "kubernetes" / name)
    ]


def manifest(kind: str, name: str) -> dict[str, Any]:
    (found,) = [m for m in manifests() if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and specification of every kind of pod."""
    for document in manifests():
        if document["kind"] in ("Deployment", "StatefulSet"):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


# ---- the command line


def parse(words: list[str]) -> dict[str, Any]:
    """Options of a command of clickcut; an unknown command or option is an error."""
    name, *rest = words
    command = typer.main.get_command(_application(name))
    return command.make_context(f"clickcut {name}", rest).params


def settings(words: list[str], environment: dict[str, str]) -> Settings:
    """Settings of an engine that is started like this in the image."""
    assert words[0] == "serve"
    given = {key: value for key, value in parse(words).items() if value}
    prefix = "CLICKCUT_"
    variables = image_environment() | environment
    fields = {k.removeprefix(prefix).lower(): v for k, v in variables.items() if prefix in k}
    fields = {key: value for key, value in fields.items() if key in Settings.model_fields}
    return Settings(**fields | given)


def commands() -> dict[str, str]:
    """Where the commands are that other packages bring, by name; those of the engine have ""."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = dict.fromkeys(("serve", "models", "warm-up", "doctor", "health"), "")
    return own | dict(project["entry-points"]["clickcut.commands"])


def _application(name: str) -> typer.Typer:
    if place := commands()[name]:
        module, _, attribute = place.partition(":")
        found = getattr(importlib.import_module(module), attribute)
    else:
        found = getattr(cli, f"_load_{name.replace('-', '_')}")()
    assert isinstance(found, typer.Typer)
    return found
