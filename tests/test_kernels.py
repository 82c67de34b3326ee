"""Where compiled kernels are kept: found again, also where nothing can be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.dispatcher import Dispatcher

import clickcut
from clickcut import kernels

pytestmark = pytest.mark.slow

HELPER = """
from clickcut.kernels import kernel
FACTOR = 2

@kernel
def twice(x):
    return FACTOR * x
"""
CALLER = """
from clickcut.kernels import inlined, kernel
from small.helper import twice

@inlined
def plus_one(x):
    return x + 1

@kernel
def work(x):
    return plus_one(twice(x))
"""
SCRIPT = """
import json, logging
from small.caller import work
from clickcut import kernels
answer = work(4)
stats = work.stats
print(json.dumps({
    "answer": answer, "hits": sum(stats.cache_hits.values()),
    "misses": sum(stats.cache_misses.values()), "kept": kernels.kept(), "ready": kernels.ready(),
}))
"""
NOBODY = 65534


class Tree:
    """A package with two kernels, one of which calls the other, and how to run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "small").mkdir(parents=True)
        (folder / "small" / "__init__.py").touch()
        (folder / "small" / "helper.py").write_text(HELPER)
        (folder / "small" / "caller.py").write_text(CALLER)

    def run(self, cache: Path | None = None, unprivileged: bool = False, home: Path | None = None):
        """A process that calls the kernels: its report, and the lines of its log."""
        engine = Path(clickcut.__file__).parents[1]
        environment = {
            "PYTHONPATH": f"{self.folder}{os.pathsep}{engine}",
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if cache is not None:
            environment["CLICKCUT_CACHE"] = str(cache)
        if home is not None:
            environment["HOME"] = str(home)
        command = [sys.executable, "-c", SCRIPT]
        if unprivileged and os.geteuid() == 0:
            # May read everything, so also an interpreter that belongs to root, and write nothing.
            drop = [
                *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
                *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
            ]
            command = [*drop, *command]
        done = subprocess.run(
            command, env=environment, cwd="/", capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr.splitlines()

    def lock(self) -> None:
        for path in [self.folder, *self.folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)

    def unlock(self) -> None:
        for path in [self.folder, *self.folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture
def tree(tmp_path):
    tmp_path.chmod(0o755)
    made = Tree(tmp_path / "tree")
    yield made
    made.unlock()


@pytest.fixture
def unprivileged():
    """Skips where a test cannot become a user who may write nothing."""
    if os.name != "posix":
        pytest.skip("no unprivileged user on this system")
    if os.geteuid() == 0:
        probe = ["setpriv", f"--reuid={NOBODY}", "--ambient-caps=-all", "true"]
        if shutil.which("setpriv") is None or subprocess.run(probe).returncode:
            pytest.skip("the tests run as root, and setpriv does not work here")


def test_code_is_kept_beside_the_source_and_found_again(tree):
    first, log = tree.run()
    assert (first["answer"], first["hits"], first["misses"], first["kept"]) == (9, 0, 1, True)
    assert first["ready"][0] == first["ready"][1] == 2
    assert list((tree.folder / "small" / "__pycache__").glob("*.nbi"))
    second, log = tree.run()
    assert (second["answer"], second["hits"], second["misses"]) == (9, 1, 0)
    assert log == []


@pytest.mark.usefixtures("unprivileged")
def test_nothing_can_be_written_and_nothing_is_there(tree):
    tree.lock()
    found, log = tree.run(unprivileged=True)
    assert (found["answer"], found["kept"]) == (9, False)
    (line,) = log
    assert "compiled kernels cannot be cached" in line
    assert "clickcut warm-up --cache DIR" in line


@pytest.mark.usefixtures("unprivileged")
def test_a_tree_that_was_filled_is_used_read_only(tree):
    tree.run()
    tree.lock()
    found, log = tree.run(unprivileged=True)
    assert (found["answer"], found["hits"], found["misses"], found["kept"]) == (9, 1, 0, True)
    assert log == []


@pytest.mark.usefixtures("unprivileged")
def test_a_folder_that_was_filled_serves_a_copy_in_another_place(tree, tmp_path):
    """As an image: another place, other times of files, another user, nothing to write."""
    cache = tmp_path / "cache"
    tree.run(cache=cache)
    assert list(cache.rglob("*.nbc"))
    assert not (tree.folder / "small" / "__pycache__").exists()
    copy = Tree(tmp_path / "elsewhere" / "site")
    for path in copy.folder.rglob("*.py"):
        os.utime(path, (1, 1))
    copy.lock()
    for path in [cache, *cache.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    found, log = copy.run(cache=cache, unprivileged=True)
    assert (found["answer"], found["hits"], found["misses"], found["kept"]) == (9, 1, 0, True)
    assert log == []
    copy.unlock()


def test_a_home_is_used_when_the_tree_cannot_be_written(tree, tmp_path):
    shutil.rmtree(tree.folder / "small" / "__pycache__", ignore_errors=True)
    (tree.folder / "small" / "__pycache__").write_text("in the way, for root as well")
    home = tmp_path / "home"
    home.mkdir()
    tree.run(home=home)
    found, _ = tree.run(home=home)
    assert (found["hits"], found["kept"]) == (1, True)
    assert list(home.rglob("*.nbi"))


@pytest.mark.parametrize(
    ("old", "new", "answer"),
    [("FACTOR * x", "FACTOR * x + 10", 19), ("FACTOR = 2", "FACTOR = 3", 13)],
)
def test_code_that_calls_what_has_changed_is_not_used(tree, old, new, answer):
    """Numba looks at the file of the caller only."""
    tree.run()
    helper = tree.folder / "small" / "helper.py"
    helper.write_text(HELPER.replace(old, new))
    found, _ = tree.run()
    assert (found["answer"], found["misses"]) == (answer, 1)


@pytest.mark.parametrize("content", [b"", b"\x80\x05garbage", None])
def test_damaged_files_are_written_again(tree, content):
    tree.run()
    for path in (tree.folder / "small" / "__pycache__").glob("*.nb?"):
        path.write_bytes(path.read_bytes()[:100] if content is None else content)
    found, _ = tree.run()
    assert (found["answer"], found["misses"], found["kept"]) == (9, 1, True)
    found, _ = tree.run()
    assert found["hits"] == 1


def test_all_kernels_of_the_engine_are_known():
    """None is compiled by a bare `njit`, whose cache wants a folder that it can write."""
    from test_warm_up import compiled

    compiled()  # imports every module
    known = {kernel.py_func.__qualname__ for kernel in kernels.kernels}
    assert len(known) > 20
    source = Path(clickcut.__file__).parent
    bare = [p for p in source.rglob("*.py") if "njit" in p.read_text() and p.name != "kernels.py"]
    assert bare == []


def test_without_a_compiler_a_kernel_is_a_function(monkeypatch):
    monkeypatch.setattr("numba.core.config.DISABLE_JIT", 1)
    before = len(kernels.kernels)

    @kernels.kernel
    def plain(x: int) -> int:
        return x + 1

    assert not isinstance(plain, Dispatcher)
    assert plain(1) == 2
    assert len(kernels.kernels) == before


def test_warm_up_says_where_kernels_are_kept(monkeypatch, capsys):
    from clickcut.cli import main

    monkeypatch.setattr(kernels, "_warned", False)
    monkeypatch.setattr("sys.argv", ["clickcut", "warm-up"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (0, None)
    assert "all kernels are cached; ready after" in capsys.readouterr().out


def test_warm_up_that_can_keep_nothing_is_an_error(monkeypatch, capsys):
    from clickcut.cli import main

    monkeypatch.setattr(kernels, "_warned", True)
    monkeypatch.setattr("sys.argv", ["clickcut", "warm-up"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "--cache DIR" in capsys.readouterr().err
