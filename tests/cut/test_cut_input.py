"""Bad input gives a named error or a defined result; memory is reported."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_cut import seed_signs

from clickcut.cut import SOLVERS, Cut, EdgeWeights, warm_up
from clickcut.cut.cut import MAX_LAMBDA
from clickcut.cut.graph import RECORD
from clickcut.errors import CutError
from clickcut.region import Region

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
WHOLE = Region(0, 0, 30, 20)
LOGITS = np.random.default_rng(1).normal(0, 3, (8, 8)).astype(np.float32)
SEEDS = np.array([[5, 5, 1], [20, 10, -1]], np.int32)
GOOD: dict[str, Any] = {
    "logits": LOGITS, "region": WHOLE, "seeds": SEEDS, "cut_lambda": 1.0, "seed_radius": 5.0,
}  # fmt: skip


def with_value(value: float) -> np.ndarray:
    logits = LOGITS.copy()
    logits[3, 3] = value
    return logits


BAD: list[tuple[dict[str, Any], str]] = [
    ({"logits": with_value(np.nan)}, "NaN or infinite"),
    ({"logits": with_value(np.inf)}, "NaN or infinite"),
    ({"logits": with_value(-np.inf)}, "NaN or infinite"),
    ({"logits": LOGITS.astype(np.float64)}, "logits must be a float32 array"),
    ({"logits": LOGITS.tolist()}, "logits must be a float32 array, got list"),
    ({"logits": LOGITS[0]}, "logits must have shape"),
    ({"logits": LOGITS[:0]}, "logits must have shape"),
    ({"seeds": SEEDS.astype(np.int64)}, "seeds must be a int32 array"),
    ({"seeds": SEEDS[0]}, "seeds must have shape"),
    ({"seeds": SEEDS[:, :2]}, "seeds must have shape"),
    ({"seeds": np.zeros((1, 3), np.int32)}, "sign 0"),
    ({"region": Region(3, 3, 3, 9)}, "region is empty"),
    ({"region": Region(9, 9, 3, 3)}, "region is empty"),
    ({"region": Region(-1, 0, 5, 5)}, "beyond the image"),
    ({"region": Region(0, 0, 31, 20)}, "beyond the image"),
    ({"cut_lambda": -1.0}, "cut_lambda must be"),
    ({"cut_lambda": np.nan}, "cut_lambda must be"),
    ({"cut_lambda": np.inf}, "cut_lambda must be"),
    ({"cut_lambda": 1e12}, "cut_lambda must be a number from 0 to 1e"),
    ({"cut_lambda": "1"}, "cut_lambda must be"),
    ({"region": (0, 0, 5, 5)}, "must be a Region"),
    ({"seed_radius": None}, "seed_radius must be"),
    ({"seed_radius": -0.1}, "seed_radius must be"),
    ({"seed_radius": np.nan}, "seed_radius must be"),
    ({"seed_radius": 257.0}, "from 0 to 256"),
]


def test_solvers_agree_at_the_largest_lambda() -> None:
    logits = np.full((40, 40), -5, np.float32)
    logits[:, 20:] = 5
    image = np.full((40, 40, 3), 90, np.uint8)
    for solver in SOLVERS:
        cut = Cut(EdgeWeights(image), solver)
        mask = cut.solve(logits, Region(0, 0, 40, 40), np.empty((0, 3), np.int32), MAX_LAMBDA, 0.0)
        np.testing.assert_array_equal(mask, logits > 0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_arguments(solver: str, change: dict[str, Any], message: str) -> None:
    cut = Cut(EdgeWeights(IMAGE), solver)
    want = cut.solve(**GOOD)
    with pytest.raises(CutError, match=message):
        cut.solve(**{**GOOD, **change})
    np.testing.assert_array_equal(cut.solve(**GOOD), want)


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_bad_sigma(sigma: float) -> None:
    with pytest.raises(CutError, match="sigma must be"):
        EdgeWeights(IMAGE, sigma)


@pytest.mark.parametrize(
    "image", [IMAGE.astype(float), IMAGE[..., 0], IMAGE[..., :2], IMAGE[:0], [[1, 2]]]
)
def test_bad_image(image: Any) -> None:
    with pytest.raises(CutError, match="the image must be"):
        EdgeWeights(image)


def test_unknown_solver() -> None:
    with pytest.raises(CutError, match="choose one of grid, pymaxflow"):
        Cut(EdgeWeights(IMAGE), "cplex")


def test_pymaxflow_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "maxflow":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CutError, match=r"clickcut\[pymaxflow\]"):
        Cut(EdgeWeights(IMAGE), "pymaxflow")
    assert Cut(EdgeWeights(IMAGE)).solve(**GOOD).shape == (20, 30)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("size", [(1, 1), (1, 30), (20, 1), (2, 2)])
def test_small_regions(solver: str, size: tuple[int, int]) -> None:
    height, width = size
    cut = Cut(EdgeWeights(IMAGE), solver)
    region = Region(0, 0, width, height)
    for z, want in ((1.0, True), (0.0, True), (-1.0, False)):
        logits = np.full((5, 5), z, np.float32)
        mask = cut.solve(logits, region, SEEDS[:0], 1.0, 5.0)
        assert mask.shape == size
        assert mask.dtype == np.bool_
        assert (mask == want).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_seeds_out_of_reach_have_no_effect(solver: str) -> None:
    cut = Cut(EdgeWeights(IMAGE), solver)
    far = np.array([[-6, 5, 1], [200, 200, -1], [2**31 - 1, -(2**31), 1]], np.int32)
    want = cut.solve(**{**GOOD, "seeds": SEEDS[:0]})
    np.testing.assert_array_equal(cut.solve(**{**GOOD, "seeds": far}), want)
    near = np.array([[-5, 5, 1]], np.int32)
    assert cut.solve(**{**GOOD, "seeds": near})[5, 0]


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_seeds_hold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seeds = np.stack(
        [rng.integers(0, 30, 9), rng.integers(0, 20, 9), rng.choice([-1, 1], 9)], 1
    ).astype(np.int32)
    mask = Cut(EdgeWeights(IMAGE)).solve(**{**GOOD, "seeds": seeds})
    signs = seed_signs(seeds, WHOLE, 5.0)
    assert mask[signs > 0].all()
    assert not mask[signs < 0].any()


def test_result_and_arguments_are_the_callers() -> None:
    cut = Cut(EdgeWeights(IMAGE))
    logits, seeds = LOGITS.copy(), SEEDS.copy()
    mask = cut.solve(**{**GOOD, "logits": logits, "seeds": seeds})
    np.testing.assert_array_equal(logits, LOGITS)
    np.testing.assert_array_equal(seeds, SEEDS)
    want = mask.copy()
    mask[:] = ~mask
    np.testing.assert_array_equal(cut.solve(**GOOD), want)


def test_arrays_need_not_be_contiguous_or_writable() -> None:
    cut = Cut(EdgeWeights(IMAGE[:, ::-1]))
    want = Cut(EdgeWeights(IMAGE[:, ::-1].copy())).solve(**GOOD)
    logits = np.asfortranarray(LOGITS)
    seeds = np.repeat(SEEDS, 2, axis=1)[:, ::2]
    logits.flags.writeable = seeds.flags.writeable = False
    got = cut.solve(**{**GOOD, "logits": logits, "seeds": seeds})
    np.testing.assert_array_equal(got, want)


def test_nbytes() -> None:
    image = np.random.default_rng(2).integers(0, 30, (300, 300, 3), np.uint8)
    edges = EdgeWeights(image)
    region = Region(0, 0, 300, 300)
    logits = np.random.default_rng(3).normal(0, 1, (200, 200)).astype(np.float32)
    for solver in SOLVERS:
        cut = Cut(edges, solver)
        before = cut.nbytes
        cut.solve(logits, region, SEEDS, 1.0, 5.0)
        assert cut.nbytes > before + 4 * 300 * 300
        # Noise: nearly every pixel is a node, in an array that grew by doubling.
        assert cut.nbytes < 300 * 300 * (2 * 4 * RECORD + 4 if solver == "grid" else 400)
        cut.reset()
        assert cut.nbytes < 300 * 300 * 20


def test_a_large_region_is_given_back() -> None:
    image = np.zeros((500, 500, 3), np.uint8)
    cut = Cut(EdgeWeights(image))
    noise = np.random.default_rng(0).normal(0, 1, (400, 400)).astype(np.float32)
    cut.solve(noise, Region(0, 0, 500, 500), SEEDS, 0.1, 5.0)
    large = cut.nbytes
    small = Region(0, 0, 20, 20)
    calm = np.full((4, 4), -3, np.float32)
    for _ in range(3):
        cut.solve(calm, small, SEEDS, 1.0, 5.0)
        small = Region(0, 0, small.x1 + 1, 20)
    assert cut.nbytes < large / 8


def test_warm_up_twice() -> None:
    warm_up()
    warm_up()


@pytest.mark.kernels
def test_both_solvers_agree_on_small_problems() -> None:
    rng = np.random.default_rng(0)
    for side in (1, 7, 40):
        edges = EdgeWeights(rng.integers(0, 256, (33, 35, 3)).astype(np.uint8), 30.0)
        cuts = [Cut(edges), Cut(edges, "pymaxflow")]
        for step in range(4):
            logits = rng.normal(0, 1, (side, side)).astype(np.float32)
            region = Region(step // 2, 0, 33 + step // 2, 33)
            seeds = np.array([[3, 3, 1], [20, 9, -1]], np.int32)[: 1 + step % 2]
            ours, full = (cut.solve(logits, region, seeds, 0.5, 3.0) for cut in cuts)
            np.testing.assert_array_equal(ours, full)
        assert cuts[0].nbytes > 0
        assert edges.nbytes > 0
