"""What int8 costs is counted in clicks and milliseconds, and decides."""

from __future__ import annotations

import time

import pytest
from export_cases import inputs, targets
from fakes import FakePredictor

from clickcut_eval.data_spec import DataSpec
from clickcut_eval.errors import DatasetError
from clickcut_export.errors import ExportError
from clickcut_export.pays import (
    Clicks,
    Speed,
    Validation,
    compare_speed,
    count_clicks,
    named_validation,
    verdict,
)


class Blind(FakePredictor):
    """Sees no object, ever."""

    def predict(self, batch):
        return super().predict(batch) * 0 - 5


class Slow(FakePredictor):
    def predict(self, batch):
        time.sleep(0.1)
        return super().predict(batch)


def clicks(lost, cut=True, name="GrabCut"):
    return Clicks(name, 0.9, cut, {"mean_clicks": 3.0}, {"mean_clicks": 3.0 + lost}, (0.0, 0.0))


def test_both_models_are_clicked_on_the_same_objects(tmp_path):
    steps = []
    validation = Validation("ellipses", targets(tmp_path, 2), 0.85)

    def progress(what, count):
        return lambda: steps.append((what, count))

    found = count_clicks(FakePredictor(), Blind(), [validation], (True, False), progress)
    assert [(c.name, c.cut) for c in found] == [("ellipses", True), ("ellipses", False)]
    for c in found:
        assert c.before["objects"] == c.after["objects"] == 2
        assert c.after["mean_clicks"] == 20  # a blind model never gets there
        assert c.lost == pytest.approx(20 - c.before["mean_clicks"])
        assert c.lost > 5
        assert c.interval[0] <= c.lost <= c.interval[1]
    assert len(steps) == 2 * 2 * 2


def test_an_empty_set_is_refused():
    with pytest.raises(ExportError, match="nothing: holds no object"):
        count_clicks(
            FakePredictor(),
            FakePredictor(),
            [Validation("nothing", [], 0.9)],
            (True,),
            lambda _what, _count: lambda: None,
        )


def test_times_are_of_the_right_model():
    speed = compare_speed(Slow(), FakePredictor(), inputs(1)[0], rounds=5)
    assert speed.before >= 100
    assert speed.after < speed.before


def test_the_verdict_says_why():
    fast, slow = Speed(20.0, 10.0), Speed(10.0, 12.0)
    assert verdict([clicks(0.1), clicks(-0.2)], fast) == (
        "pays: 2.0 times as fast, +0.10 clicks at worst"
    )
    said = verdict([clicks(0.1), clicks(0.3, cut=False)], slow)
    assert said.startswith("does not pay: GrabCut, no cut, needs +0.30 clicks (at most +0.15)")
    assert "12.0 ms instead of 10.0" in said


def test_a_data_set_is_opened_by_its_spelling(tmp_path):
    with pytest.raises(DatasetError, match="no folder"):
        named_validation(DataSpec("grabcut", str(tmp_path / "nowhere")), None)
