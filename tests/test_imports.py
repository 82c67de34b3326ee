"""Who may import whom, read from the source: imports inside functions count as well."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE_ROOTS = ("engine", "benchmarks", "train", "export", "integrations")

MAY_IMPORT = {
    "clickcut": set(),
    "clickcut_eval": {"clickcut"},
    "clickcut_bench": {"clickcut", "clickcut_eval"},
    "clickcut_train": {"clickcut", "clickcut_eval"},
    "clickcut_export": {"clickcut", "clickcut_eval", "clickcut_train"},
}
"""Package -> our other packages that it may use. Those of `integrations/` may use the engine."""

ENGINE = (
    {"control_groups", "errors", "kernels", "process_limits", "timings", "whole_file"},
    {"checks", "installation", "tracing"},
    {
        "clicks",
        "grpc_status",
        "parameters",
        "polygons",
        "processor",
        "region",
        "store",
    },
    {"scales"},
    {"image_file", "resample", "shrink"},
    {"bundle", "cut", "encoding", "maps", "overlay", "selection"},
    {"backends", "images"},
    {"bundle.repository"},
    {"session"},
    {"client", "warm_up"},
    {"api", "server"},
    {"doctor"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
"""Parts of the engine from the bottom up; each may import those of earlier rows only."""

TORCH = {"torch", "torchvision", "tensorboard"}


def packages() -> dict[str, Path]:
    """Every import package of the source roots, by name."""
    found = (init.parent for root in SOURCE_ROOTS for init in ROOT.glob(f"{root}/*/__init__.py"))
    return {folder.name: folder for folder in found}


def modules(package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name; generated code is left out."""
    folder = packages()[package]
    found = {}
    for path in folder.rglob("*.py"):
        parts = [package, *path.relative_to(folder).with_suffix("").parts]
        if "v1" not in parts:
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imported(nodes: Iterator[ast.AST]) -> Iterator[tuple[str, list[str], int]]:
    """Of every import statement: module, names taken from it (none of `import a.b`), line."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, [], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: relative import"
            yield node.module, [alias.name for alias in node.names], node.lineno


def executed(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            for field in ("body", "orelse", "finalbody"):
                yield from executed(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from executed(handler.body)


def used(path: Path, known: Container[str], everywhere: bool = False) -> set[str]:
    """Modules of `known` that one imports: `from a import b` uses a.b or a.

    Args:
        path: of the module.
        known: modules that count.
        everywhere: inside functions and for type checkers as well, not only when it is loaded.
    """
    tree = ast.parse(path.read_text())
    out = set()
    for module, names, _ in imported(ast.walk(tree) if everywhere else executed(tree.body)):
        inner = {f"{module}.{name}" for name in names if f"{module}.{name}" in known}
        out |= inner | ({module} if module in known and len(inner) < max(1, len(names)) else set())
    return out


def violations(package: str, allowed: set[str]) -> list[str]:
    """Imports of our packages outside of `allowed`, and of PyTorch by those that go without."""
    needs_torch = package in ("clickcut_train", "clickcut_export", "clickcut_eval")
    forbidden = packages().keys() - allowed - {package} | (set() if needs_torch else TORCH)
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package).values()
        for name, _, line in imported(ast.walk(ast.parse(path.read_text())))
        if name.partition(".")[0] in forbidden
    ]


@pytest.mark.parametrize("package", sorted(packages()))
def test_packages_import_only_those_below_them(package):
    integrations = {n for n, p in packages().items() if p.parent.name == "integrations"}
    allowed = MAY_IMPORT.get(package, {"clickcut", *integrations})
    assert package in MAY_IMPORT or package in integrations, "say in MAY_IMPORT what it may use"
    assert not violations(package, allowed)


@pytest.mark.parametrize("package", sorted(packages()))
def test_no_modules_import_each_other_in_a_circle(package):
    known = modules(package)
    graph = {m: used(path, known) - {m} for m, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def level(module: str) -> tuple[int, str] | None:
    """Row and name of the part that a module of the engine lies in; None of `clickcut` itself."""
    name = module.removeprefix("clickcut").removeprefix(".")
    rows = [(row, part) for row, parts in enumerate(ENGINE) for part in parts]
    found = [r for r in rows if name == r[1] or name.startswith(f"{r[1]}.")]
    return max(found, key=lambda r: len(r[1]), default=None)


def test_nothing_in_the_engine_knows_what_is_above_it():
    known = modules("clickcut")
    unplaced = [m for m in known if m != "clickcut" and level(m) is None]
    assert not unplaced, "say in ENGINE where these belong"
    upward = []
    for module, path in known.items():
        if (own := level(module)) is None:
            continue
        for name in used(path, known, everywhere=True):
            other = level(name)
            if other is not None and other[1] != own[1] and other[0] >= own[0]:
                upward.append(f"{module} imports {name}")
    assert not upward


WALL_CLOCK = {
    "clickcut.server.certificates": {"time.time"},  # certificates are valid by it
    "clickcut.server.recorder": {"datetime.now"},  # the name of a file
    "clickcut.store.sqlite_file": {"time.strftime"},  # the name of a file
}
"""What may ask for the time of day. It may jump: limits, expiry and waiting go by other clocks."""


def test_the_engine_does_not_rely_on_the_time_of_day():
    asking = {"time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.strftime"}
    asking |= {f"datetime.{name}" for name in ("now", "utcnow", "today")}
    found = {}
    for module, path in modules("clickcut").items():
        tree = ast.parse(path.read_text())
        uses = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for source, names, _ in imported(ast.walk(tree)):
            uses |= {f"{source}.{name}" for name in names if source == "time"}
        if uses & asking:
            found[module] = uses & asking
    assert found == WALL_CLOCK
