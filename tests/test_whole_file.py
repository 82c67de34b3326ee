"""Files are whole or not there."""

from __future__ import annotations

import pytest

from clickcut import whole_file as module
from clickcut.errors import BackendError
from clickcut.installation import installed, require
from clickcut.whole_file import whole_file


@pytest.mark.parametrize("unique", [False, True])
def test_a_file_appears_when_it_is_complete(tmp_path, unique):
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    with whole_file(path, unique) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_goes_wrong_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), whole_file(path) as file:  # noqa: PT012
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_do_not_share_a_partial_file(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(module, "_open", lambda path: opened.append(path) or path.open("wb"))
    for pid in (1, 2):
        monkeypatch.setattr(module.os, "getpid", lambda pid=pid: pid)
        with whole_file(tmp_path / "x", unique=True):
            pass
    assert len(set(opened)) == 2


def test_missing_packages_are_all_named():
    assert installed("numpy")
    require("cpu", "numpy")
    with pytest.raises(
        BackendError, match=r"not installed: no_such_a, no_such_b; pip install 'clickcut\[x\]'"
    ):
        require("x", "no_such_a", "numpy", "no_such_b")
