"""Many images at once: `clickcut segment FOLDER --clicks clicks.csv --format ...`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from server.harness import image_file, server_environment, write_bundle

from clickcut.errors import ImageError
from clickcut_formats import FormatError, coco
from clickcut_formats.batch import Click, read_clicks, run

CSV = """image,x,y,positive,object,label
a.png,10,12,1,1,cat
a.png,3,4,0,1,
a.png,30,20,,2,dog
sub/b.png,5,6,+,,
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "sub/b.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_file(40, 30))
    return tmp_path / "images"


def clicks_file(tmp_path: Path, text: str = CSV) -> Path:
    path = tmp_path / "clicks.csv"
    path.write_text(text)
    return path


def squares(path: Path, clicks: Sequence[Click]) -> NDArray[np.bool_]:
    mask = np.zeros((30, 40), np.bool_)
    for x, y, positive in clicks:
        mask[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = positive
    return mask


def test_objects_of_a_plan(tmp_path: Path, folder: Path) -> None:
    plan = read_clicks(clicks_file(tmp_path), folder)
    assert [(o.label, o.clicks) for o in plan["a.png"].values()] == [
        ("cat", [(10, 12, True), (3, 4, False)]),
        ("dog", [(30, 20, True)]),
    ]
    summary = run(folder, plan, squares, tmp_path / "out", format_name="coco")
    assert (summary.images, summary.objects, summary.clicks) == (2, 3, 4)
    first, second = coco.read(summary.files[0])
    assert [first.name, second.name] == ["a.png", "sub/b.png"]
    assert [item.area for item in first.objects] == [9, 9]


def test_every_bad_line_is_named(tmp_path: Path, folder: Path) -> None:
    text = CSV + "a.png,x,1\n,1,1\na.png,nan,1\na.png,1,1,maybe\na.png,1,1,1,two\nc.png,1,1\n"
    with pytest.raises(FormatError) as raised:
        read_clicks(clicks_file(tmp_path, text + "../a.png,1,1\n"), folder)
    assert [fault.split(":")[0] for fault in raised.value.faults] == [
        "line 6",
        "line 7",
        "line 8",
        "line 9",
        "line 10",
        "c.png",
        "../a.png",
    ]


@pytest.mark.parametrize(
    ("text", "words"), [("", "no column image, x, y"), ("image,x,y\n", "there are no clicks")]
)
def test_files_without_clicks(tmp_path: Path, folder: Path, text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        read_clicks(clicks_file(tmp_path, text), folder)


def test_an_image_that_fails_is_named_and_the_others_are_written(
    tmp_path: Path, folder: Path
) -> None:
    def segment(path: Path, clicks: Sequence[Click]) -> NDArray[np.bool_]:
        if path.name == "b.png":
            raise ImageError("damaged")
        return squares(path, clicks)

    plan = read_clicks(clicks_file(tmp_path), folder)
    summary = run(folder, plan, segment, tmp_path / "out", format_name="png")
    assert summary.failed == ["sub/b.png: damaged"]
    assert [path.name for path in summary.files] == ["a_mask_1.png", "a_mask_2.png"]
    with pytest.raises(FormatError, match="exists already"):
        run(folder, plan, segment, tmp_path / "out", format_name="png")


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clickcut", "segment", *map(str, words)],
        capture_output=True,
        text=True,
        env=server_environment(),
        timeout=400,
    )


@pytest.mark.slow
def test_the_command(tmp_path: Path, folder: Path) -> None:
    model = write_bundle(tmp_path / "toy.onnx")
    out = tmp_path / "out"
    words = (folder, "--clicks", clicks_file(tmp_path), "--model", model, "--out", out)
    done = command(*words, "--format", "coco")
    assert done.returncode == 0, done.stderr
    assert "2 images, 3 objects, 4 clicks" in done.stdout
    before = (out / "annotations.json").read_bytes()
    assert len(json.loads(before)["annotations"]) == 3
    again = command(*words, "--format", "coco")
    assert again.returncode == 2
    assert "exists already" in again.stderr
    one = command(folder / "a.png", "--click", "10,12", "--model", model, "--out", out,
                  "--format", "labelme")  # fmt: skip
    assert one.returncode == 0, one.stderr
    assert json.loads((out / "a.json").read_bytes())["imagePath"] == "a.png"
    wrong = command(folder / "a.png", "--click", "10,12", "--out", out, "--format", "psd")
    assert wrong.returncode == 2
    assert "there are png" in wrong.stderr
