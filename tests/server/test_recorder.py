"""`--record`: what is written of a finished session, what is not, and that nothing else suffers."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from fakes import FakePredictor, picture
from server.harness import RawStream, ServerProcess, encode, image_file, run_server, wait_until

from clickcut.client import Client
from clickcut.encoding import from_rle
from clickcut.images import decode, prepare
from clickcut.region import Region
from clickcut.selection import Selection
from clickcut.server import recorder
from clickcut.server.recorder import Record, Recorder, RecordError
from clickcut.session import ClickSession
from clickcut.session.event_lines import described
from clickcut.session.events import BoxPrompt, Exclude, InitialMask, MoveClick, RemoveClick, Reset
from clickcut.v1 import clickcut_pb2 as pb
from clickcut_eval.datasets.folder import folder_entries
from clickcut_eval.datasets.rle import decode_mask

DATA = encode(picture()[:, :, ::-1])


def session_of(*clicks: tuple[int, int, bool]) -> ClickSession:
    session = ClickSession(prepare(DATA), FakePredictor())
    for click in clicks:
        session.click(*click)
    return session


def files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.is_file())


class Recording:
    """A recorder and what it counts."""

    def __init__(self, folder: Path, max_bytes: int = 10**9) -> None:
        self.folder, self.outcomes = folder, Counter[str]()
        self.recorder = Recorder(folder, max_bytes, lambda outcome: self.outcomes.update([outcome]))

    def record(self, session: ClickSession) -> None:
        self.recorder.record(session, FakePredictor().metadata)

    def close(self) -> dict[str, int]:
        self.recorder.close(20)
        return dict(self.outcomes)


# ---- through a server


def records(folder: Path, count: int) -> list[str]:
    """Names of the records, once there are so many."""
    wait_until(lambda: len([*folder.glob("images/*.png")]) == count, f"{count} records")
    return sorted(path.stem for path in folder.glob("images/*.png"))


def test_a_closed_session_is_a_photo_of_a_data_set(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    data = image_file()
    with ServerProcess(bundle, record=folder) as server:
        with Client(server.address) as client, client.open(data) as session:
            first = session.click(80, 60)
            session.next_object()
            session.click(20, 30)
            session.click(20, 100, positive=False)
            second = session.undo()
        (name,) = records(folder, 1)
        with Client(server.address) as client, client.open(data):
            pass  # nothing selected: nothing to learn
    (entry,) = folder_entries(folder)
    annotated = entry.read()
    found = [decode_mask(rle) for rle in annotated.rles]
    for got, wanted in zip(found, (first, second), strict=True):
        np.testing.assert_array_equal(got.astype(bool), wanted)
    np.testing.assert_array_equal(
        decode((folder / "images" / f"{name}.png").read_bytes()), decode(data)
    )
    about, *events = map(json.loads, (folder / "events" / f"{name}.jsonl").read_text().splitlines())
    assert about["model"] == "toy@1"
    assert [o["clicks"] for o in about["objects"]] == [1, 1]
    assert events == [
        {"object": 0, "event": "click", "positive": True, "points": [[80, 60]]},
        {"object": 1, "event": "click", "positive": True, "points": [[20, 30]]},
    ]
    assert (folder / "images").stat().st_mode & 0o077 == 0  # of its owner only


def test_sessions_that_are_evicted_or_end_with_the_server_count(
    bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "records"
    with ServerProcess(bundle, record=folder, resume_seconds=0.2, drain_seconds=0) as server:
        with RawStream(server.address) as raw:
            raw.ask(open=pb.Open(image=image_file()))
            raw.ask(click=pb.Click(x=80, y=60))
        records(folder, 1)  # the stream broke, and no client came back
        with RawStream(server.address) as raw:
            raw.ask(open=pb.Open(image=image_file()))
            raw.ask(click=pb.Click(x=80, y=60))
            server.terminate()
            assert server.join() == 0
    assert len(records(folder, 2)) == 2
    assert not any("127.0.0.1" in path.read_text() for path in folder.glob("events/*"))


def test_a_session_that_lives_on_in_the_store_has_not_ended(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    flags = {"record": folder, "store": f"sqlite:{tmp_path / 'store.db'}", "drain_seconds": 0}
    with ServerProcess(bundle, **flags) as server, RawStream(server.address) as raw:
        raw.ask(open=pb.Open(image=image_file()))
        raw.ask(click=pb.Click(x=80, y=60))
        server.terminate()
        assert server.join() == 0
    assert not files(folder)


def test_a_folder_that_cannot_be_written_to_ends_the_start(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, errors = run_server("--model", str(bundle), "--record", str(tmp_path / "file"))
    assert code == 2
    (line,) = errors
    assert "--record" in line
    assert "name a folder that can be written to" in line


@pytest.mark.parametrize("asked", [False, True])
def test_nothing_is_recorded_unless_asked_for(bundle: Path, tmp_path: Path, asked: bool) -> None:
    (tmp_path / "home").mkdir()
    here = (
        f"import os; os.chdir({str(tmp_path)!r}); os.environ['HOME'] = {str(tmp_path / 'home')!r}"
    )
    flags = {"record": "records"} if asked else {}
    with (
        ServerProcess(bundle, prelude=here, drain_seconds=0, **flags) as server,
        RawStream(server.address) as raw,
    ):
        raw.ask(open=pb.Open(image=image_file()))
        raw.ask(click=pb.Click(x=80, y=60))
        server.terminate()
        assert server.join() == 0
    assert bool(files(tmp_path)) == asked


# ---- limits


def test_the_folder_never_takes_more_than_allowed(tmp_path: Path) -> None:
    first = Recording(tmp_path)
    first.record(session_of((53, 60, True)))
    assert first.close() == {"written": 1}
    size = sum(f.stat().st_size for f in files(tmp_path))
    again = Recording(tmp_path, int(2.5 * size))  # what is there counts
    for _ in range(4):
        again.record(session_of((53, 60, True)))
    assert again.close() == {"written": 1, "full": 3}
    assert sum(f.stat().st_size for f in files(tmp_path)) <= 2.5 * size
    assert len(folder_entries(tmp_path)) == 2


def test_a_disk_that_is_nearly_full_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recording = Recording(tmp_path)
    usage = SimpleNamespace(total=100 * 2**30, free=5 * 2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    recording.record(session_of((53, 60, True)))
    recording.record(session_of((53, 60, True)))
    assert recording.close() == {"disk": 2}
    assert not files(tmp_path)
    (line,) = caplog.messages  # once a minute
    assert "nearly full" in line


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_a_record_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    real, calls = recorder.whole_file, iter(range(100))
    recording = Recording(tmp_path)

    def sometimes(path: Path, **options: Any) -> Any:
        if next(calls) == fails_at:
            raise OSError(28, "No space left on device")
        return real(path, **options)

    monkeypatch.setattr(recorder, "whole_file", sometimes)
    recording.record(session_of((53, 60, True)))
    recording.record(session_of((53, 60, True)))
    assert recording.close() == {"failed": 1, "written": 1}
    assert len(files(tmp_path)) == 3  # image, mask and events of the second


def test_a_slow_disk_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    real = shutil.disk_usage

    def slow(path: Path) -> Any:
        released.wait(30)
        return real(path)

    monkeypatch.setattr(shutil, "disk_usage", slow)
    monkeypatch.setattr(recorder, "_MIN_FREE_BYTES", 0)
    monkeypatch.setattr(recorder, "_MIN_FREE", 0.0)
    recording = Recording(tmp_path)
    for _ in range(20):
        recording.record(session_of((53, 60, True)))
    assert recording.outcomes["busy"] >= 20 - recorder._MAX_PENDING - 1
    released.set()
    assert recording.close()["written"] == 20 - recording.outcomes["busy"]


def test_nothing_selected_is_no_record() -> None:
    assert Record.of(session_of(), FakePredictor().metadata) is None


def test_a_folder_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="--record"):
        Recorder(tmp_path / "file", 1)


# ---- events


def test_every_event_is_described() -> None:
    mask = np.zeros((4, 5), np.bool_)
    mask[1:3, 2:4] = True
    box = Region(1, 0, 4, 3)
    assert described(BoxPrompt(box), 4, 5) == {"event": "box", "box": [1, 0, 4, 3]}
    assert described(RemoveClick(2), 4, 5) == {"event": "remove_click", "index": 2}
    assert described(MoveClick(1, (3, 2)), 4, 5)["point"] == [3, 2]
    assert described(Reset(), 4, 5) == {"event": "reset"}
    for event in (InitialMask(np.packbits(mask)), Exclude(Selection.of(mask))):
        counts = described(event, 4, 5)["counts"]
        np.testing.assert_array_equal(from_rle(counts.encode(), 4, 5), mask)


def test_masks_are_of_the_whole_image(tmp_path: Path) -> None:
    session = session_of((53, 60, True))
    recording = Recording(tmp_path)
    recording.record(session)
    recording.close()
    (path,) = tmp_path.glob("masks/*_0.png")
    stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored > 0, session.mask)
    assert set(np.unique(stored)) == {0, 255}
