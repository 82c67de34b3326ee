"""All back-ends by the same tests; those that cannot run here are skipped and say why."""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from plans import FLAVOURS, build_plan
from server.harness import SIZE, write_bundle

from clickcut.backends import BACKENDS, Predictor, load_predictor, takes, why_unavailable
from clickcut.backends.onnx_runtime import PROVIDERS, OnnxPredictor
from clickcut.bundle.file import read_bundle
from clickcut.errors import BackendError, BundleError
from clickcut.installation import installed
from clickcut.server.settings import Settings

PROBABILITY_TOLERANCE = 2e-3
"""Between back-ends; a GPU may compute convolutions in TF32."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("model") / "toy.onnx")


def loaded(bundle: Path, backend: str, folder: Path) -> Predictor:
    if reason := why_unavailable(backend):
        pytest.skip(reason)
    if backend != "tensorrt":
        return load_predictor(bundle, 1, backend, max_batch=5)
    from clickcut.backends.cuda import compute_capability

    flavour = next(f for f in FLAVOURS if f in sys.modules or installed(f))
    plan = build_plan(bundle, folder / "model.plan", flavour, compute_capability())
    return load_predictor(plan)


def inputs(count: int, size: int = SIZE) -> np.ndarray:
    """Colours, two discs of clicks, a previous probability."""
    rng = np.random.default_rng(count)
    batch = rng.random((count, 6, size, size), np.float32)
    batch[:, 3:5] = batch[:, 3:5] > 0.999
    return batch


def probability(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


# ---- the same tests


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_back_end_gives_what_the_cpu_gives(backend: str, bundle: Path, tmp_path: Path) -> None:
    predictor = loaded(bundle, backend, tmp_path)
    assert predictor.backend == backend
    assert predictor.metadata == read_bundle(bundle).metadata
    predictor.warm_up()
    reference = load_predictor(bundle, 1)
    for count in (1, 2, 3, 5, 7):
        batch = inputs(count)
        logits = predictor.predict(batch)
        assert logits.shape == (count, SIZE, SIZE)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(
            probability(logits),
            probability(reference.predict(batch)),
            atol=PROBABILITY_TOLERANCE,
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_model_that_ships_is_the_same_everywhere(
    backend: str, default_bundle: Path, tmp_path: Path
) -> None:
    predictor = loaded(default_bundle, backend, tmp_path)
    batch = inputs(2, predictor.metadata.input_size)
    expected = probability(load_predictor(default_bundle, 1).predict(batch))
    np.testing.assert_allclose(
        probability(predictor.predict(batch)), expected, atol=PROBABILITY_TOLERANCE
    )


def test_a_cpu_without_batches_is_prepared_for_one_input(default_bundle: Path) -> None:
    one, many = (load_predictor(default_bundle, 1, max_batch=n) for n in (1, 2))
    assert isinstance(one, OnnxPredictor)
    assert isinstance(many, OnnxPredictor)
    assert (one._fixed_batch, many._fixed_batch) == (1, None)
    size = one.metadata.input_size
    for count in (0, 1, 3):
        batch = inputs(count, size)
        found = one.predict(batch)
        assert found.shape == (count, size, size)
        np.testing.assert_allclose(found, many.predict(batch), atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_may_share_a_predictor(backend: str, bundle: Path, tmp_path: Path) -> None:
    predictor = loaded(bundle, backend, tmp_path)
    batches = [inputs(1 + k % 3) for k in range(24)]
    alone = [predictor.predict(b) for b in batches]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(predictor.predict, batches))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_result_is_not_overwritten_by_the_next(
    backend: str, bundle: Path, tmp_path: Path
) -> None:
    predictor = loaded(bundle, backend, tmp_path)
    first = predictor.predict(inputs(1))
    kept = first.copy()
    predictor.predict(np.zeros_like(inputs(1)))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_size_is_refused(backend: str, bundle: Path, tmp_path: Path) -> None:
    predictor = loaded(bundle, backend, tmp_path)
    with pytest.raises(BundleError, match="not 96"):
        predictor.predict(inputs(1, 96))


# ---- what is not there


def test_the_settings_know_all_back_ends() -> None:
    assert get_args(Settings.model_fields["backend"].annotation) == ("auto", *BACKENDS)


def test_without_onnx_runtime_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"pip install 'clickcut\[cpu\]'"):
        load_predictor(bundle)
    assert "clickcut[gpu]" in why_unavailable("onnxruntime-cuda")


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_a_provider_that_is_not_built_in(
    backend: str, monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match=rf"{backend} is not available.*onnxruntime-gpu"):
        load_predictor(bundle, backend=backend)


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_a_provider_that_falls_back_to_the_cpu_is_an_error(
    backend: str, monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    """As when the GPU wheel is installed and there is no driver."""
    import onnxruntime

    if PROVIDERS[backend] in onnxruntime.get_available_providers():
        pytest.skip(f"{backend} is really there")
    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: [PROVIDERS[backend], "CPUExecutionProvider"],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX Runtime's, which is turned into the error
        with pytest.raises(BackendError, match=r"does not work on this machine.*driver"):
            load_predictor(bundle, backend=backend)


def test_tensorrt_prepares_for_all_batches(bundle: Path, tmp_path: Path) -> None:
    predictor = OnnxPredictor(bundle)
    assert predictor._profile(bundle.read_bytes(), bundle, 4) == {
        "trt_profile_min_shapes": "x:1x6x64x64",
        "trt_profile_opt_shapes": "x:4x6x64x64",
        "trt_profile_max_shapes": "x:4x6x64x64",
    }


def test_what_a_file_is_not_for_is_refused(bundle: Path, tmp_path: Path) -> None:
    plan = tmp_path / "model.plan"
    plan.write_bytes(b"plan")
    with pytest.raises(BackendError, match="no back-end 'cuda'; there are onnxruntime-cpu"):
        load_predictor(bundle, backend="cuda")
    with pytest.raises(BundleError, match="clickcut export tensorrt"):
        load_predictor(bundle, backend="tensorrt")
    with pytest.raises(BundleError, match="needs the back-end tensorrt"):
        load_predictor(plan, backend="onnxruntime-cpu")
    assert [takes(b, plan) for b in BACKENDS] == [False, False, False, True]
