"""`clickcut bench cut`: every way is measured, agreement is checked for real, the plot shows it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import FakePredictor, picture

from clickcut.cut import Cut
from clickcut_bench import cut as bench
from clickcut_bench import cut_report
from clickcut_bench.recordings import Recording, record


@pytest.fixture(scope="module")
def recording() -> Recording:
    pixels = picture()
    mask = pixels[..., 0] > 120
    return record((pixels, mask, np.zeros_like(mask)), FakePredictor(), 4)


def rows_of(recording: Recording) -> list[dict[str, object]]:
    return list(bench.measure(recording, 1.0, every=1))


def test_each_click_is_cut_in_every_way(recording: Recording) -> None:
    rows = rows_of(recording)
    assert len(rows) == len(recording.clicks) >= 2
    first, later = rows[0], rows[1]
    assert {"session first", "ours cold", "PyMaxflow cold"} == set(first) & set(cut_report.WAYS)
    assert set(later) & set(cut_report.WAYS) == set(cut_report.WAYS) - {"session first"}
    assert all(row["energies_equal"] and row["masks_equal"] for row in rows)


def test_a_wrong_mask_is_noticed(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Cut.solve

    def wrong(self: Cut, *arguments: object) -> np.ndarray:
        mask = right(self, *arguments)  # type: ignore[arg-type]
        mask[0, 0] ^= type(self._solver).__name__ == "GridSolver"
        return mask

    monkeypatch.setattr(Cut, "solve", wrong)
    assert not any(row["masks_equal"] or row["energies_equal"] for row in rows_of(recording))


def test_large_regions_are_cut_as_sessions_do_only(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "MAX_PIXELS", 100)
    ways = [set(row) & set(cut_report.WAYS) for row in rows_of(recording)]
    assert ways == [{"session first"}] + [{"session later"}] * (len(ways) - 1)


def test_growth_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Made-up times that grow with the pixels, those of PyMaxflow with their square."""
    rows = [
        {
            "size": f"{pixels} px",
            "smoothness": level,
            "pixels": pixels,
            "click": 2,
            **{way: (pixels / 1e5) ** (2 if "PyMaxflow" in way else 1) for way in cut_report.WAYS},
            "energies_equal": True,
            "masks_equal": pixels < 400_000,
        }
        for pixels in (100_000, 200_000, 400_000)
        for level in cut_report.SMOOTHNESS
    ]
    document = {
        "machine": {"cpu": "a processor", "cores": 2},
        "model": "m",
        "threads": {"one": 1.0, "two": 2.0, "ratio": 2.0},
        "summary": cut_report.summarise(rows),
        "exponents": cut_report.exponents(rows),
        "rows": rows,
    }
    growth = document["exponents"]["weak"]
    assert growth["ours warm"] == pytest.approx(1)
    assert growth["PyMaxflow cold"] == pytest.approx(2)
    cut_report.show(document)
    assert "DIFFER: 400000 px, weak" in capsys.readouterr().out
    cut_report.plot(document, tmp_path / "cut.png")
    shown = cv2.imread(str(tmp_path / "cut.png"))
    assert shown.std() > 10
