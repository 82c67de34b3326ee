"""`clickcut doctor`: examine the installation, the machine and a server; say what to do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import typer

from clickcut.commands.server_options import NO_ACCESS, AccessOptions, option_groups
from clickcut.doctor import Finding, examine
from clickcut.doctor.findings import Check

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_NAME_WIDTH = 11


@app.command()
@option_groups
def doctor(
    server: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Also check a running server.")
    ] = "",
    connection: AccessOptions = NO_ACCESS,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Test this model: a path, or a name from `clickcut models`. Repeatable. Default: "
            "all bundled models.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Check installation, machine and server; select an object on the packaged photograph.

    Exit code 1 if something does not work; each finding says what to do. Warnings name what works,
    but not well.
    """

    found: list[Finding] = []
    for finding in examine([*_local(model or []), *_remote(server, connection)]):
        found.append(finding)
        if not as_json:
            _print(finding)
    faults = [f for f in found if f.status == "error"]
    if as_json:
        print(json.dumps({"ok": not faults, "findings": [asdict(f) for f in found]}, indent=2))
    elif faults:
        print(f"\n{len(faults)} of {len(found)} findings are errors")
    if faults:
        raise typer.Exit(1)


def _local(models: list[str]) -> Iterable[tuple[str, Check]]:
    from clickcut.doctor import machine

    def self_tests() -> Iterable[Finding]:
        from clickcut.bundle import bundled_models
        from clickcut.bundle.repository import find_models
        from clickcut.doctor.self_test import self_tests

        return self_tests(find_models(models, None) if models else [*bundled_models().values()])

    return (
        ("versions", machine.versions),
        ("processor", machine.processor),
        ("memory", machine.memory),
        ("open files", machine.open_files),
        ("back-ends", machine.back_ends),
        ("caches", machine.caches),
        ("self-test", self_tests),
    )


def _remote(server: str, connection: AccessOptions) -> Iterable[tuple[str, Check]]:
    if not server:
        return ()

    def health() -> Iterable[Finding]:
        from clickcut.doctor import remote

        return remote.health(server, connection.access())

    def selection() -> Iterable[Finding]:
        from clickcut.doctor import remote

        return remote.selection(server, connection.access())

    return ("server", health), ("server", selection)


def _print(finding: Finding) -> None:
    print(f"{finding.status:<8} {finding.check:<{_NAME_WIDTH}} {finding.message}", flush=True)
    if finding.advice:
        print(f"{'':<8} {'':<{_NAME_WIDTH}} -> {finding.advice}", flush=True)


if __name__ == "__main__":
    app()
