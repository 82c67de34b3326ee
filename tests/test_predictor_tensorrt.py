"""Plans: files that are checked, plans that are really built, and their way through a stand-in GPU.

What needs a GPU is in test_predictor.py, by the same tests as every back-end.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from plans import FakeCuda, FakeTensorRT, build_plan, describe
from server.harness import write_bundle

from clickcut.backends import cuda, load_predictor
from clickcut.backends.tensorrt import TensorRTPredictor, check_available
from clickcut.bundle.plan import read_plan, sidecar_of
from clickcut.bundle.repository import read_model
from clickcut.errors import BackendError, BundleError
from clickcut.installation import installed

HAS_RTX = installed("tensorrt_rtx")
HAS_CUDA_BINDINGS = installed("cuda")
needs_rtx = pytest.mark.skipif(not HAS_RTX, reason="tensorrt-rtx is not installed")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("model") / "toy.onnx")


@pytest.fixture
def plan(bundle: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model.plan"
    path.write_bytes(b"looks like a plan without TensorRT")
    return describe(path, bundle)


# ---- files


def test_a_plan_and_its_description_are_read(plan: Path) -> None:
    found = read_plan(plan)
    assert found.metadata.name == "toy"
    assert found.facts.compute_capabilities == ("8.9",)
    model = read_model(plan)
    assert (model.metadata, model.protected) == (found.metadata, True)


def test_a_damaged_plan_is_refused(plan: Path) -> None:
    data = bytearray(plan.read_bytes())
    data[7] ^= 1
    plan.write_bytes(data)
    with pytest.raises(BundleError, match=r"model\.plan: wrong hash"):
        load_predictor(plan)


def test_missing_files_are_named(plan: Path) -> None:
    sidecar_of(plan).unlink()
    with pytest.raises(BundleError, match=r"model\.plan\.json is missing beside it"):
        load_predictor(plan)
    with pytest.raises(BundleError, match="no such file"):
        load_predictor(plan.with_name("other.plan"))


Edit = Callable[[dict], None]

BAD_DESCRIPTIONS: dict[str, tuple[Edit, str]] = {
    "no metadata": (lambda d: d.pop("metadata"), "metadata version None"),
    "unknown version": (lambda d: d["metadata"].update(metadata_version=9), "version 9"),
    "a missing field": (lambda d: d["metadata"].pop("channels"), "channels"),
    "no facts": (lambda d: d.pop("tensorrt"), "no object 'tensorrt'"),
    "facts of another kind": (lambda d: d.update(tensorrt=[1]), "no object 'tensorrt'"),
    "an unknown flavour": (lambda d: d["tensorrt"].update(flavour="cutensor"), "flavour"),
    "no capability": (
        lambda d: d["tensorrt"].update(compute_capabilities=[]),
        "compute_capabilities",
    ),
    "a capability of another form": (
        lambda d: d["tensorrt"].update(compute_capabilities=["sm89"]),
        "compute_capabilities",
    ),
    "no hash": (lambda d: d["tensorrt"].pop("plan_sha256"), "plan_sha256"),
    "a profile upside down": (
        lambda d: d["tensorrt"]["profile"].update(batch=[4, 2, 1]),
        "min <= opt <= max",
    ),
    "a profile for another size": (
        lambda d: d["tensorrt"]["profile"].update(size=[96, 128, 256]),
        "takes 96 to 256 pixels, the model needs 64",
    ),
    "something more": (lambda d: d.update(surprise=1), "surprise"),
}


@pytest.mark.parametrize("name", BAD_DESCRIPTIONS)
def test_a_wrong_description_is_refused_by_field(name: str, plan: Path) -> None:
    edit, words = BAD_DESCRIPTIONS[name]
    document = json.loads(sidecar_of(plan).read_text())
    edit(document)
    sidecar_of(plan).write_text(json.dumps(document))
    with pytest.raises(BundleError, match=words) as raised:
        read_plan(plan)
    assert "model.plan.json" in str(raised.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\xff"])
def test_a_description_that_is_no_json_object(text: str, plan: Path) -> None:
    sidecar_of(plan).write_text(text, "latin-1")
    with pytest.raises(BundleError, match=r"model\.plan\.json"):
        read_plan(plan)


def test_a_huge_description_is_not_read(plan: Path) -> None:
    sidecar_of(plan).write_bytes(b" " * (2**20 + 1))
    with pytest.raises(BundleError, match="more than"):
        read_plan(plan)


# ---- what is not there


@pytest.mark.parametrize(
    ("flavour", "package"), [("tensorrt", "tensorrt"), ("tensorrt_rtx", "tensorrt-rtx")]
)
def test_without_tensorrt_the_message_says_what_to_install(
    flavour: str, package: str, plan: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(plan, bundle, flavour=flavour)
    monkeypatch.setitem(sys.modules, flavour, None)
    with pytest.raises(BackendError, match=rf"pip install '{package}==10\.9\.0\.34'"):
        load_predictor(plan)


def test_without_the_cuda_bindings_the_message_says_what_to_install(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT(FakeCuda()))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(BackendError, match=r"pip install 'clickcut\[tensorrt\]'"):
        load_predictor(plan)


@needs_rtx
@pytest.mark.skipif(not HAS_CUDA_BINDINGS, reason="cuda-bindings is not installed")
def test_a_real_plan_without_a_gpu_says_so(bundle: Path, tmp_path: Path) -> None:
    plan = build_plan(bundle, tmp_path / "model.plan", "tensorrt_rtx", "8.9")
    assert len(plan.read_bytes()) > 1000
    try:
        cuda.compute_capability()
    except BackendError:
        pass
    else:
        pytest.skip("there is a GPU; test_predictor.py runs plans on it")
    with pytest.raises(BackendError, match="NVIDIA"):
        load_predictor(plan)
    with pytest.raises(BackendError, match="NVIDIA"):
        check_available()


@needs_rtx
@pytest.mark.skipif(not HAS_CUDA_BINDINGS, reason="cuda-bindings is not installed")
def test_everything_that_is_called_is_there() -> None:
    """The stand-ins below have the names that the real modules have."""
    import tensorrt_rtx as trt
    from cuda.bindings import runtime

    gpu = FakeCuda()
    for name in {n for n in dir(FakeCuda) if n.startswith("cuda")}:
        real = getattr(runtime, name)
        for inner in vars(getattr(gpu, name)) if hasattr(getattr(gpu, name), "__dict__") else ():
            if inner.startswith("cuda"):
                assert hasattr(real, inner), inner
    for name in ("cudaFree", "cudaFreeHost", "cudaStreamDestroy", "cudaGraphExecDestroy"):
        assert callable(getattr(runtime, name))
    stand_in = FakeTensorRT(gpu)
    engine = stand_in.Runtime(None).deserialize_cuda_engine(b"")
    pairs = (
        (trt, FakeTensorRT),
        (trt.ICudaEngine, type(engine)),
        (trt.IExecutionContext, type(engine.create_execution_context())),
    )
    for real, fake in pairs:
        public = {n for n in vars(fake) if not n.startswith("_")}
        assert public
        for name in public:
            assert hasattr(real, name), f"{real}.{name}"
    assert hasattr(trt.IRuntimeConfig, "cuda_graph_strategy")
    assert hasattr(trt.TensorIOMode, "INPUT")
    assert hasattr(trt.CudaGraphStrategy, "WHOLE_GRAPH_CAPTURE")


# ---- through a stand-in GPU


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(cuda, "runtime", lambda: fake)
    return fake


def with_tensorrt(
    monkeypatch: pytest.MonkeyPatch, gpu: FakeCuda, flavour: str = "tensorrt", **how: bool
) -> FakeTensorRT:
    trt = FakeTensorRT(gpu, **how)
    monkeypatch.setitem(sys.modules, flavour, trt)
    return trt


def inputs(count: int) -> np.ndarray:
    return np.random.default_rng(count).random((count, 6, 64, 64), np.float32)


def test_every_batch_size_is_right(
    plan: Path, gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = with_tensorrt(monkeypatch, gpu)
    predictor = load_predictor(plan)
    predictor.warm_up()
    assert sorted(c.shape[0] for c in trt.contexts) == [1, 2, 4, 5]
    for count in (1, 2, 3, 4, 5, 6, 13, 1, 3):
        batch = inputs(count)
        np.testing.assert_allclose(predictor.predict(batch), batch.mean(1), rtol=1e-5)
    assert len(trt.contexts) == 4
    assert gpu.launches >= 9  # warm: nothing is queued call by call any more


def test_what_cannot_be_recorded_runs_as_it_is(
    plan: Path, gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tensorrt(monkeypatch, gpu, recordable=False)
    predictor = load_predictor(plan)
    for count in (1, 1, 4):
        batch = inputs(count)
        np.testing.assert_allclose(predictor.predict(batch), batch.mean(1), rtol=1e-5)
    assert gpu.launches == 0


def test_tensorrt_rtx_records_for_itself(
    plan: Path, bundle: Path, gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(plan, bundle, flavour="tensorrt_rtx")
    trt = with_tensorrt(monkeypatch, gpu, "tensorrt_rtx")
    predictor = load_predictor(plan)
    for _ in range(3):
        np.testing.assert_allclose(predictor.predict(inputs(2)), inputs(2).mean(1), rtol=1e-5)
    assert gpu.launches == 0
    assert [c.config.cuda_graph_strategy for c in trt.contexts] == ["whole"]


def test_threads_share_a_plan(plan: Path, gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    with_tensorrt(monkeypatch, gpu)
    predictor = load_predictor(plan)
    predictor.warm_up()
    batches = [inputs(1 + k % 5) for k in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for batch, logits in zip(batches, pool.map(predictor.predict, batches), strict=True):
            np.testing.assert_allclose(logits, batch.mean(1), rtol=1e-5)


def test_all_memory_comes_back(plan: Path, gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    trt = with_tensorrt(monkeypatch, gpu)
    predictor = load_predictor(plan)
    predictor.warm_up()
    assert gpu.held
    del predictor
    trt.contexts.clear()
    gc.collect()
    assert gpu.held == {}


def test_full_memory_is_a_clear_error(
    plan: Path, gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tensorrt(monkeypatch, gpu)
    gpu.memory = 1000
    with pytest.raises(BackendError, match="GPU memory is full"):
        load_predictor(plan).warm_up()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"version": "10.8.0.43"}, r"built by tensorrt 10\.8\.0\.43, installed is 10\.9\.0\.34"),
        ({"compute_capabilities": ("7.5", "12.0")}, r"built for .* 7\.5, 12\.0, this GPU has 8\.9"),
    ],
)
def test_a_plan_for_another_machine_is_refused(
    facts: dict,
    words: str,
    plan: Path,
    bundle: Path,
    gpu: FakeCuda,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_tensorrt(monkeypatch, gpu)
    describe(plan, bundle, **facts)
    with pytest.raises(BackendError, match=words):
        load_predictor(plan)


def test_a_plan_that_tensorrt_refuses(
    plan: Path, bundle: Path, gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tensorrt(monkeypatch, gpu)
    plan.write_bytes(b"cannot be loaded")
    describe(plan, bundle)
    with pytest.raises(BundleError, match="TensorRT cannot load the plan"):
        TensorRTPredictor(plan)
