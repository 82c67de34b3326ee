"""One thread per prediction in a crowd: the same logits, and the right one of the two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import FakePredictor

from clickcut.backends import crowd as crowd_module
from clickcut.backends import load_predictor
from clickcut.backends.crowd import CrowdPredictor, for_crowds, same_logits
from clickcut.bundle import bundled_models
from clickcut_bench.backends import session_input


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "fcn8s-mobilenet"])
def test_logits_do_not_depend_on_the_number_of_threads(name: str) -> None:
    path = bundled_models()[name]
    one, several = load_predictor(path, 1), load_predictor(path, 3)
    assert same_logits(several, one)
    shown = session_input(path, None)
    rng = np.random.default_rng(3)
    for _ in range(3):
        shown[0, -1] = rng.random(shown.shape[2:])
        np.testing.assert_array_equal(one.predict(shown), several.predict(shown))


def test_the_crowd_decides() -> None:
    alone, crowd = FakePredictor(), FakePredictor()
    crowded = False
    both = CrowdPredictor(alone, crowd, lambda: crowded)
    batch = np.zeros((1, 6, 64, 64), np.float32)
    both.predict(batch)
    assert (len(alone.batches), len(crowd.batches)) == (1, 0)
    crowded = True
    both.predict(batch)
    assert (len(alone.batches), len(crowd.batches)) == (1, 1)
    assert both.metadata is alone.metadata


class Off(FakePredictor):
    """Differs in the last bit."""

    def predict(self, batch):
        return np.nextafter(super().predict(batch), np.float32(np.inf))


@pytest.mark.parametrize(("other", "used"), [(FakePredictor, True), (Off, False)])
def test_a_model_that_differs_by_its_threads_always_has_the_same(
    other: type[FakePredictor], used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, int]] = []

    def load(path: Path, threads: int, backend: str) -> FakePredictor:
        asked.append((path, threads))
        return other()

    monkeypatch.setattr(crowd_module, "load_predictor", load)
    alone = FakePredictor()
    found = for_crowds(alone, Path("x.onnx"), lambda: True)
    assert asked == [(Path("x.onnx"), 1)]
    assert isinstance(found, CrowdPredictor) == used
    assert used or found is alone
