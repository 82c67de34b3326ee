"""`clickcut bench latency`: what is summarised and which sizes it takes."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from clickcut_bench.cli import app
from clickcut_bench.latency import Timing, plot, summarise


def timings(later: int) -> list[Timing]:
    first = [Timing(True, ms, {"decode": ms / 2, "total": ms}) for ms in (90.0, 110.0, 100.0)]
    return first + [Timing(False, 20.0, {"network": 10.0, "total": 18.0}) for _ in range(later)]


def test_first_and_later_clicks_are_summarised_apart() -> None:
    found = summarise(timings(later=2))
    first, later = found["first click, upload included"], found["later clicks"]
    assert (first["end to end"]["p50"], first["decode"]["p50"]) == (100.0, 50.0)
    assert first["count"]["n"] == 3
    assert later["end to end"]["p50"] == 20.0
    assert "decode" not in later


def test_sessions_of_one_click_have_no_later_ones(tmp_path: Path) -> None:
    found = summarise(timings(later=0))
    assert list(found) == ["first click, upload included"]
    machine = {"cpu": "a processor", "cores": 2}
    plot({"sizes": {"24 MP": found}, "machine": machine}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 0


def test_an_unknown_size_is_refused_before_anything_runs() -> None:
    result = CliRunner().invoke(app, ["latency", "--sizes", "12 MP,13 MP"])
    assert result.exit_code == 2
    assert "13 MP" in result.output
    assert "50 MP" in result.output
