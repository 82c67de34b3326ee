"""After the warm-up nothing is left to compile."""

from __future__ import annotations

import importlib
import pkgutil
import re

import numpy as np
import pytest
from fakes import FakePredictor, picture
from numba.core.registry import CPUDispatcher

import clickcut
from clickcut import kernels
from clickcut.client.access import Access
from clickcut.commands.segmenter import Segmenter
from clickcut.cut import region_cut
from clickcut.errors import CutError
from clickcut.images import prepare_pixels
from clickcut.session import ClickSession
from clickcut.warm_up import warm_up, warm_up_all


def compiled():
    """Signatures of every kernel of the package."""
    found = {}
    for module in pkgutil.walk_packages(clickcut.__path__, "clickcut."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, CPUDispatcher):
                found[f"{value.py_func.__module__}.{name}"] = tuple(value.signatures)
    return found


def play(session):
    rng = np.random.default_rng(0)
    for k, (x, y) in enumerate(rng.integers(0, (160, 120), (30, 2))):
        session.click(int(x), int(y), positive=k % 3 != 1)
    session.stroke(np.array([(3.0, 3.0), (90.0, 80.0)]))
    session.undo()
    session.undo()
    session.redo()
    session.set_parameters(cut_lambda=0.2, cut_sigma=7.0)
    session.start_from(session.mask.copy())
    session.click(80, 60)
    session.next_object()
    session.click(10, 10)


@pytest.mark.parametrize("encoding", ["disc", "distance"])
def test_no_kernel_is_compiled_after_the_warm_up(monkeypatch, encoding):
    predictor = FakePredictor(guidance={"encoding": encoding, "radius": 3})
    if encoding == "distance":
        predictor._logits = lambda x: (x[4] - x[3]) / 40
    warm_up(predictor)
    before = compiled()
    assert len(before) > 10
    play(ClickSession(prepare_pixels(picture()), predictor))
    monkeypatch.setattr(region_cut, "MAX_PIXELS", 4000)
    play(ClickSession(prepare_pixels(picture(seed=1)), predictor))
    assert compiled() == before


def test_a_solver_that_is_not_there_is_an_error():
    with pytest.raises(CutError, match="unknown cut solver"):
        warm_up(FakePredictor(), solver="magic")


def test_progress_is_told_while_kernels_come(monkeypatch):
    monkeypatch.setattr("clickcut.warm_up.SAY_EVERY", 0.0)
    lines = []

    class Slow(FakePredictor):
        def warm_up(self):
            for _ in range(3):
                kernels._tell()

    warm_up_all([Slow(), Slow()], "grid", lines.append)
    assert len(lines) >= 6
    assert all(
        re.fullmatch(r"warming up: \d+ of at most \d+ kernels are ready", line) for line in lines
    )
    kernels._tell()
    count = len(lines)
    kernels._tell()
    assert len(lines) == count


def test_segment_reports_kernels_while_it_waits_for_them(monkeypatch, capsys):
    class Slow(FakePredictor):
        def predict(self, batch):
            kernels._tell()
            return super().predict(batch)

    monkeypatch.setattr("clickcut.warm_up.SAY_EVERY", 0.0)
    monkeypatch.setattr("clickcut.backends.load_predictor", lambda path: Slow())
    segmenter = Segmenter(server="", access=Access(), model="", cut=True, box=None, window=None)
    mask = segmenter.mask_of(b"", prepare_pixels(picture()), [(53, 60, True)], None)
    assert mask.any()
    assert "kernels are ready" in capsys.readouterr().err
