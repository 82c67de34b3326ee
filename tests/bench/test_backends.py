"""`clickcut bench backends`: what it measures is there, true to its definition, and shown."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import FakePredictor
from plans import describe
from server.harness import SIZE, write_bundle

from clickcut.backends import BACKENDS, why_unavailable
from clickcut.errors import BackendError
from clickcut_bench import backends, backends_report, batching
from clickcut_bench.backends import DIRECT, Case


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("model") / "toy.onnx")


def test_the_input_is_that_of_a_session(bundle: Path) -> None:
    one = backends.session_input(bundle, None)
    assert one.shape == (1, 6, SIZE, SIZE)
    assert one[0, 3].any()  # a positive click
    assert not one[0, 4:].any()  # no negative one, no previous probability
    assert one[0, :3].std() > 0.1
    assert backends.session_input(bundle, 96).shape == (1, 6, 96, 96)


def test_every_model_meets_every_back_end_that_loads_it(bundle: Path, tmp_path: Path) -> None:
    plan = tmp_path / "toy.plan"
    plan.write_bytes(b"plan")
    describe(plan, bundle)
    found = backends.cases([bundle, plan], BACKENDS, [64, 96], (1,), 3, 0)
    assert [(c.path.name, c.backend, c.size) for c in found] == [
        ("toy.onnx", "onnxruntime-cpu", 64),
        ("toy.onnx", DIRECT, 64),
        ("toy.onnx", "onnxruntime-cpu", 96),
        ("toy.onnx", DIRECT, 96),
        ("toy.onnx", "onnxruntime-cuda", 64),
        ("toy.onnx", "onnxruntime-cuda", 96),
        ("toy.onnx", "onnxruntime-tensorrt", 64),
        ("toy.onnx", "onnxruntime-tensorrt", 96),
        ("toy.plan", "tensorrt", 64),
        ("toy.plan", "tensorrt", 96),
    ]


def test_time_is_counted_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []

    def work() -> None:
        time.sleep(0.05 if not calls else 0.002)
        calls.append(time.perf_counter())

    spent = list(backends.timed(work, 6))
    assert len(calls) == 7
    assert len(spent) == 6
    assert all(ms >= 1.9 for ms in spent)
    monkeypatch.setattr(backends, "SECONDS", 0.0)
    assert len(list(backends.timed(work, 100))) == 3


class Counting(FakePredictor):
    """Slow enough that callers meet; keeps the size of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def predict(self, batch):
        self.sizes.append(len(batch))
        time.sleep(0.01)
        return batch.mean(1)


def test_merging_is_measured_against_not_merging() -> None:
    counting = Counting()
    one = np.zeros((1, 6, 8, 8), np.float32)
    found = batching.compare(counting, one, callers=4, repeats=10, max_batch=3)
    for way in ("plain", "merging"):
        assert 10 <= found[way]["p50_ms"] <= found[way]["p95_ms"]
        assert found[way]["images_per_second"] > 0
    assert 1 < max(counting.sizes) <= 3  # some were merged
    assert sum(counting.sizes) == 2 * 4 * 10


def test_the_stand_in_takes_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = batching.run(5.0, 1.0, [1], 5, 8)
    assert row["plain"]["p50_ms"] >= 6
    assert row["merging"]["p50_ms"] >= 6
    assert "5 ms a call + 1 ms an input" in capsys.readouterr().out


def test_it_measures_and_shows(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(backends, "_in_own_process", backends.measure)  # fewer processes to start
    json_path, plot_path = tmp_path / "b.json", tmp_path / "b.png"
    document = backends.run([bundle], [], [SIZE, 96], [1, 2], 5, 1, json_path, plot_path)
    rows = [(c["backend"], c["size"]) for c in document["cases"]]
    assert {("onnxruntime-cpu", SIZE), (DIRECT, SIZE)} <= set(rows)
    for case in document["cases"]:
        latency = case["latency_ms"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
        assert set(case["images_per_second"]) == {1, 2}
        assert ("merging" in case) == (case["backend"] != DIRECT)
    skipped = {(s["backend"], s["size"]): s["reason"] for s in document["skipped"]}
    assert "takes 64 pixels, not 96" in skipped["onnxruntime-cpu", 96]
    assert (DIRECT, 96) in skipped
    assert set(document["unavailable"]) == {b for b in BACKENDS if why_unavailable(b)}
    assert document["models"]["toy.onnx"]["name"] == "toy"
    assert json.loads(json_path.read_text())["machine"] == document["machine"]
    out = capsys.readouterr().out
    for words in ("toy.onnx", DIRECT, "batch 2", "Dynamic batching", "skipped: toy.onnx"):
        assert words in out
    picture = cv2.imread(str(plot_path))
    assert picture.shape[1] > 1000
    assert picture.std() > 10


def test_a_back_end_asked_for_by_name_must_be_there(bundle: Path) -> None:
    missing = [b for b in BACKENDS if why_unavailable(b)]
    if not missing:
        pytest.skip("all back-ends are available")
    with pytest.raises(BackendError, match=r"install|NVIDIA"):
        backends.run([bundle], missing[:1], [], [1], 3, 0, None, None)


def test_the_plot_takes_many_cases(tmp_path: Path) -> None:
    cases = [
        {
            "model": f"model-{k}.onnx",
            "backend": "onnxruntime-cpu",
            "size": 320,
            "latency_ms": {"p50": 10.0 * 3**k, "p95": 12.0 * 3**k, "p99": 15.0 * 3**k},
            "images_per_second": {1: 100 / 3**k, 4: 160 / 3**k},
        }
        for k in range(6)
    ]
    machine = {"cpu": "a processor", "cores": 2, "gpu": "a GPU"}
    path = tmp_path / "b.png"
    backends_report.plot({"machine": machine, "cases": cases}, path)
    assert cv2.imread(str(path)).shape[0] > 400


@pytest.mark.slow
def test_a_case_is_measured_in_its_own_process(bundle: Path) -> None:
    case = Case(bundle, "onnxruntime-cpu", None, (1, 3), 4, 1)
    found = backends._in_own_process(case)
    assert found["latency_ms"]["n"] == 4
    assert found["load_ms"] > 0
    assert set(found["images_per_second"]) == {1, 3}
