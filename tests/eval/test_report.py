"""The report: numbers of the run beside the paper's, pictures inside the page."""

from __future__ import annotations

import base64
import io
import re

import cv2
import numpy as np
import pytest
from eval_cases import save
from PIL import Image
from rich.console import Console

from clickcut_eval import run as runs
from clickcut_eval.data_spec import DataSpec
from clickcut_eval.errors import DatasetError, RunError
from clickcut_eval.jobs import perform
from clickcut_eval.methods import choose
from clickcut_eval.metrics import interval
from clickcut_eval.protocol import Protocol
from clickcut_eval.report.groups import groups
from clickcut_eval.report.numbers import garments, table_1, table_2, thresholds
from clickcut_eval.report.page import write_report
from clickcut_eval.store import Run

METHODS = ["growcut", "geodesic-matting"]


@pytest.fixture
def measured(tmp_path, grabcut_folder, scene, monkeypatch):
    """A run of two methods on three data sets."""
    pixels, mask = scene
    for name in ("cat00_1", "toilet00_1", "cat01_2"):
        save(tmp_path / f"data/coco_mval_dev/images/{name}.png", pixels[..., ::-1])
        save(tmp_path / f"data/coco_mval_dev/masks/{name}.png", mask.astype(np.uint8) * 255)
    clothes = tmp_path / "data/clothing_parts"
    large = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    save(clothes / "labels/1.png", large)
    save(clothes / "images/1.png", cv2.resize(pixels, None, fx=2, fy=2)[..., ::-1])
    (clothes / "labels.txt").write_text("null\nshirt\n")
    monkeypatch.setattr(runs, "on_processes", lambda jobs, workers: ((j, perform(j)) for j in jobs))
    runs.run(
        [
            DataSpec(n, str(tmp_path / "data" / n))
            for n in ("grabcut", "coco_mval_dev", "clothing_parts")
        ],
        choose(METHODS, None, {}, {}),
        tmp_path / "out",
        Protocol(max_clicks=5, stop_at=1.0),
        console=Console(file=io.StringIO()),
    )
    return tmp_path / "out"


def test_coco_is_split_into_seen_and_unseen(measured):
    run = Run(measured)
    sizes = {g.key: len(g.of(run, "growcut")) for g in groups(run)}
    assert sizes == {"grabcut": 2, "coco seen": 2, "coco unseen": 1}


def test_tables_stand_beside_the_paper(measured):
    run = Run(measured)
    head, rows = table_1(run)
    assert head[1:] == ["GrabCut @90", "COCO dev, seen @85", "COCO dev, unseen @85"]
    assert [name for name, _ in rows] == ["Geodesic matting", "GrowCut"]  # not the run's order
    clicks = [o.clicks_to(0.9, 5) for o in run.of("grabcut", "growcut")]
    low, high = interval(clicks)
    text, small, _ = dict(rows)["GrowCut"][0]
    assert text == f"{np.mean(clicks):.2f}"
    assert small == f"{low:.1f}–{high:.1f}; paper 16.74"
    _, rows = thresholds(run)
    text, small, _ = dict(rows)["GrowCut"][0]
    outcomes = run.of("grabcut", "growcut")
    assert text == f"{np.mean(clicks):.2f}"
    later, final = [o.clicks_to(0.95, 5) for o in outcomes], [100 * o.ious[-1] for o in outcomes]
    parts = [f"{low:.1f}–{high:.1f}"]
    for name, values, digits in (("@95", later, 2), ("IoU", final, 1)):
        ends = interval(values)
        parts.append(f"{name} {np.mean(values):.{digits}f} ({ends[0]:.1f}–{ends[1]:.1f})")
    assert small == "; ".join(parts)
    (cell, whole), garment = dict(garments(run)[1])["GrowCut"], run.of("clothing_parts", "growcut")
    assert cell[0] == f"{np.mean([o.clicks_to(0.85, 5) for o in garment]):.2f}"
    assert whole[0] == f"{np.mean([o.clicks_to(0.9, 5) for o in garment]):.2f}"
    run.configuration["protocol"]["stop_at"] = 0.9
    assert dict(thresholds(run)[1])["GrowCut"][0][1].endswith("; @95 –; IoU –")
    _, first = table_2(run)
    ious = [100 * o.ious[0] for o in run.of("coco_mval_dev", "growcut") if o.name != "toilet00_1"]
    assert dict(first)["GrowCut"][0][0] == f"{np.mean(ious):.1f}"


@pytest.mark.slow
def test_the_page_needs_nothing_beside_it(measured, tmp_path):
    written = write_report(measured, tmp_path / "page/r.html", "growcut", "geodesic-matting")
    assert [p.name for p in written] == [
        "r.html", "r_curves.png", "r_curves.svg", "r_tables.md",
    ]  # fmt: skip
    page = written[0].read_text()
    for title in (
        "Table 1",
        "NoC@90",
        "Parts of objects",
        "Table 2",
        "Figure 4",
        "Figure 5",
        "Figure 7",
        "Figure 8",
        "Failures",
    ):
        assert f"<h2>{title}" in page
    assert not re.findall(r"(?:src|href)=['\"](?!data:|#)", page)
    pictures = re.findall(r"data:image/jpeg;base64,([^']+)'", page)
    assert len(pictures) >= 10
    with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as image:
        assert image.size == (320, 240)
    with Image.open(written[1]) as image:
        assert image.size[0] > 800
    assert "| GrowCut |" in written[3].read_text()
    assert "shirt" in page


def test_without_pictures_data_are_not_needed(measured, tmp_path):
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(DatasetError, match="there is no folder"):
        write_report(measured, tmp_path / "r.html", "growcut", "geodesic-matting")
    write_report(measured, tmp_path / "r.html", "growcut", pictures=False)
    assert "data:image/jpeg" not in (tmp_path / "r.html").read_text()


def test_data_that_changed_are_not_shown(measured, tmp_path):
    image = tmp_path / "data/grabcut/images/a.png"
    image.write_bytes(image.read_bytes() + b" ")
    with pytest.raises(DatasetError, match="has changed since"):
        write_report(measured, tmp_path / "r.html", "growcut", "geodesic-matting")


def test_an_empty_run_is_refused(tmp_path):
    run = Run(tmp_path / "out", Protocol())
    run.save_configuration()
    run.close()
    with pytest.raises(RunError, match="nothing has been measured"):
        write_report(tmp_path / "out", tmp_path / "r.html")
