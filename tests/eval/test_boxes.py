"""`clickcut eval box`: boxes of the simulated user, and the table."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakePredictor

from clickcut.region import Region
from clickcut_eval.boxes import BoxRow, loosened_box, measure_boxes, table_of
from clickcut_eval.cli import box
from clickcut_eval.data_spec import DataSpec
from clickcut_eval.errors import RunError


def test_a_loosened_box_stays_in_the_image():
    box = Region(10, 20, 30, 60)
    assert loosened_box(box, 0.0, 100, 100) == (10, 20, 29, 59)
    assert loosened_box(box, 0.1, 100, 100) == (8, 16, 31, 63)
    assert loosened_box(box, 1.0, 40, 65) == (0, 0, 39, 64)


def test_boxes_are_measured_beside_clicks_alone(grabcut_folder):
    rows = measure_boxes([DataSpec("grabcut", str(grabcut_folder))], FakePredictor())
    assert [row.loosened for row in rows] == [None, 0.0, 0.1]
    none, tight, loose = (row.ious for row in rows)
    assert none.shape == tight.shape == loose.shape == (2, 4)  # one object has no pixels
    assert (none[:, 0] == 0).all()
    assert (tight[:, 0] > 0.1).all()


def test_a_file_that_cannot_be_written_is_named(grabcut_folder, monkeypatch, capsys):
    monkeypatch.setattr("clickcut.backends.load_predictor", lambda *_: FakePredictor())
    blocked = grabcut_folder / "file"
    blocked.write_text("")
    with pytest.raises(RunError, match=r"file/x\.md: cannot be written"):
        box([f"grabcut:{grabcut_folder}"], out=blocked / "x.md")
    assert "| GrabCut | 2 | none |" in capsys.readouterr().out  # what was measured is not lost


def test_the_table():
    ious = np.array([[0.5, 0.6, 0.7, 0.8], [0.7, 0.8, 0.9, 1.0]])
    lines = table_of([BoxRow("Set", None, ious), BoxRow("Set", 0.1, ious)]).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| Set | 2 | none |  | 70.0 (")
    assert lines[3].startswith("| Set | 2 | 10% larger on each side | 60.0 (")
    assert pytest.approx(60.0) == 100 * ious[:, 0].mean()
