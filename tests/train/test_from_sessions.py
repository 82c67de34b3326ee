"""`clickcut train from-sessions`: records of a server become a data set that training reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakePredictor, picture
from server.harness import encode
from typer.testing import CliRunner

from clickcut.encoding import to_png
from clickcut.images import prepare
from clickcut.server.recorder import Recorder
from clickcut.session import ClickSession
from clickcut_eval.datasets.folder import folder_entries
from clickcut_eval.datasets.rle import decode_mask
from clickcut_train.cli import app
from clickcut_train.data.config import DataConfig, parse_source
from clickcut_train.data.open import open_sources
from clickcut_train.errors import DataError
from clickcut_train.from_sessions import Report, from_sessions


class Records:
    """A folder of records, written by the server's recorder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._recorder = Recorder(folder, 10**9)
        self.masks: list[np.ndarray] = []

    def add(self, seed: int, *objects: list[tuple[int, int]]) -> None:
        """A session on a photo, with clicks for each object."""
        session = ClickSession(prepare(encode(picture(seed=seed)[:, :, ::-1])), FakePredictor())
        for number, clicks in enumerate(objects):
            if number:
                session.next_object()
            for x, y in clicks:
                session.click(x, y)
            self.masks.append(session.mask.copy())
        self._recorder.record(session, FakePredictor().metadata)

    def start_from(self, seed: int) -> None:
        """A session with a mask and no click."""
        session = ClickSession(prepare(encode(picture(seed=seed)[:, :, ::-1])), FakePredictor())
        session.start_from(np.pad(np.ones((20, 20), np.bool_), ((0, 100), (0, 140))))
        self._recorder.record(session, FakePredictor().metadata)

    def close(self) -> list[str]:
        """Names of the records, in the order made."""
        self._recorder.close(30)
        return sorted((p.stem for p in self.folder.glob("images/*")), key=self._time)

    def _time(self, name: str) -> float:
        return (self.folder / "images" / f"{name}.png").stat().st_mtime_ns


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records")


def test_a_data_set_that_training_opens(records: Records, tmp_path: Path) -> None:
    records.add(0, [(53, 60)], [(110, 60)])
    records.add(1, [(53, 60)])
    records.close()
    report = from_sessions(records.folder, tmp_path / "out")
    assert (report.sessions, report.used, report.photos, report.objects) == (2, 2, 2, 3)
    assert not report.dropped
    found = [
        decode_mask(rle).astype(bool)
        for entry in folder_entries(tmp_path / "out")
        for rle in entry.read().rles
    ]
    assert {mask.tobytes() for mask in found} == {mask.tobytes() for mask in records.masks}
    source = parse_source(f"folder:{tmp_path / 'out'}")
    opened, (about,) = open_sources(DataConfig(sources=(source,), min_area=1), None, 0)
    assert len(opened) == 2
    assert not about.faulty


def test_sessions_on_one_photo_become_one_photo(records: Records, tmp_path: Path) -> None:
    for clicks in ([(53, 60)], [(110, 60)], [(53, 60)]):
        records.add(0, clicks)
    records.close()
    report = from_sessions(records.folder, tmp_path / "out")
    assert (report.sessions, report.used, report.photos, report.objects) == (3, 2, 1, 2)
    ((reason, (name,)),) = report.dropped.items()
    assert reason == "the same mask on the same photo"
    assert name.endswith("object 0")
    lines = (tmp_path / "out" / "sessions.jsonl").read_text().splitlines()
    assert [json.loads(line)["clicks"] for line in lines] == [1, 1]
    assert len({json.loads(line)["photo"] for line in lines}) == 1


def test_what_teaches_nothing_is_left_out_and_named(records: Records, tmp_path: Path) -> None:
    records.add(0, [(53, 60)])
    records.add(1, [(53, 60)])
    records.start_from(2)
    records.close()
    without = next(
        path for path in records.folder.glob("masks/*") if _clicks(records.folder, path) == 1
    )
    without.unlink()
    report = from_sessions(records.folder, tmp_path / "out")
    assert (report.sessions, report.used, report.objects) == (3, 1, 1)
    assert report.dropped.keys() == {"no final mask", "fewer than 1 clicks"}
    assert report.dropped["no final mask"] == [without.stem.partition("_")[0]]
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == vars(report)
    more = from_sessions(records.folder, tmp_path / "all", min_clicks=0)
    assert more.objects == 2


def _clicks(folder: Path, mask: Path) -> int:
    events = folder / "events" / f"{mask.stem.partition('_')[0]}.jsonl"
    return int(json.loads(events.read_text().splitlines()[0])["objects"][0]["clicks"])


def _break_events(folder: Path, name: str) -> None:
    (folder / "events" / f"{name}.jsonl").write_text("{")


def _lose_events(folder: Path, name: str) -> None:
    (folder / "events" / f"{name}.jsonl").unlink()


def _truncate_image(folder: Path, name: str) -> None:
    path = folder / "images" / f"{name}.png"
    path.write_bytes(path.read_bytes()[:200])


def _other_format(folder: Path, name: str) -> None:
    path = folder / "events" / f"{name}.jsonl"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))


def _list_events(folder: Path, name: str) -> None:
    (folder / "events" / f"{name}.jsonl").write_text("[1, 2]\n")


def _other_mask(folder: Path, name: str) -> None:
    (folder / "masks" / f"{name}_0.png").write_bytes(to_png(np.ones((5, 5), np.bool_)))


@pytest.mark.parametrize(
    "damage",
    [_break_events, _lose_events, _truncate_image, _other_format, _list_events, _other_mask],
)
def test_a_damaged_record_costs_itself_only(records: Records, tmp_path: Path, damage: Any) -> None:
    records.add(0, [(53, 60)])
    records.add(1, [(53, 60)])
    name = records.close()[0]
    damage(records.folder, name)
    report = from_sessions(records.folder, tmp_path / "out")
    assert (report.used, report.objects) == (1, 1)
    ((reason, (text,)),) = report.dropped.items()
    assert reason == "damaged"
    assert text.startswith(name)


def test_nothing_is_made_of_nothing(records: Records, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match="no records"):
        from_sessions(tmp_path, out)
    records.start_from(0)
    records.close()
    with pytest.raises(DataError, match="fewer than 1 clicks"):
        from_sessions(records.folder, out)
    assert not out.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["records"]
    out.mkdir()
    with pytest.raises(DataError, match="exists already"):
        from_sessions(records.folder, out)


def test_the_command(records: Records, tmp_path: Path) -> None:
    records.add(0, [(53, 60)])
    records.close()
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["from-sessions", str(records.folder), str(out)])
    assert done.exit_code == 0
    assert done.stdout == f"{out}: {Report(1, 1, 1, 1)}\n"
