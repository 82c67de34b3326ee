"""The semantic methods: lattice, mean field, component under the click, segmenter."""

from __future__ import annotations

import naive_methods as naive
import numpy as np
import pytest
from fakes import picture
from skimage.measure import label as components

from clickcut_eval.errors import MethodError
from clickcut_eval.methods.dense_crf import DenseCrf
from clickcut_eval.methods.lattice import Lattice
from clickcut_eval.methods.segmenter import Segmenter
from clickcut_eval.methods.semantic import Semantic, component


def features(height, width, space, colour, seed=0):
    rows, columns = np.mgrid[:height, :width]
    out = np.dstack([columns / space, rows / space, picture(width, height, seed) / colour])
    return out.reshape(-1, 5).astype(np.float32)


@pytest.mark.kernels
@pytest.mark.parametrize(("space", "colour"), [(8.0, 40.0), (20.0, 15.0)])
def test_the_lattice_filters_like_a_gaussian(space, colour):
    points = features(18, 24, space, colour)
    values = np.random.default_rng(0).random((len(points), 3)).astype(np.float32)
    values[:, 2] = 1
    found, exact = Lattice(points).filter(values), naive.gaussian_filter(points, values)
    # Only the normalised result is used; the lattice's kernel is a little wider than the Gaussian.
    ours, theirs = found / found[:, 2:], exact / exact[:, 2:]
    assert np.abs(ours - theirs)[:, :2].mean() < 0.1 * theirs[:, :2].std() + 0.01
    assert np.corrcoef(ours[:, 0], theirs[:, 0])[0, 1] > 0.9


@pytest.mark.kernels
def test_the_lattice_keeps_sums_symmetric():
    points = features(10, 12, 5.0, 30.0)
    lattice = Lattice(points)
    rng = np.random.default_rng(1)
    a, b = (rng.random((len(points), 1)).astype(np.float32) for _ in range(2))
    # A symmetric kernel: <a, K b> = <K a, b>; not quite, as some neighbours are missing.
    assert float((a * lattice.filter(b)).sum()) == pytest.approx(
        float((lattice.filter(a) * b).sum()), rel=5e-3
    )


def test_points_beyond_the_lattice_are_refused():
    with pytest.raises(ValueError, match="wider kernels"):
        Lattice(features(4, 4, 5.0, 0.1))
    with pytest.raises(ValueError, match=r"shape \(N, 5\)"):
        Lattice(np.zeros((4, 3), np.float32))


def naive_mean_field(crf, pixels, probability):
    height, width, count = probability.shape
    rows, columns = np.mgrid[:height, :width]
    space = np.stack([columns, rows], -1).reshape(-1, 2).astype(float)
    colour = pixels.reshape(-1, 3).astype(float)
    q = probability.reshape(-1, count).astype(float)
    unary = np.log(q)
    alike = np.hstack([space / crf.appearance_space, colour / crf.appearance_colour])
    for _ in range(crf.iterations):
        message = np.zeros_like(q)
        for weight, points in (
            (crf.appearance_weight, alike),
            (crf.smoothness_weight, space / crf.smoothness_space),
        ):
            norm = naive.gaussian_filter(points, np.ones((len(q), 1)))
            message += weight * naive.gaussian_filter(points, q) / norm
        raised = np.exp(unary + message - (unary + message).max(1, keepdims=True))
        q = raised / raised.sum(1, keepdims=True)
    return q.argmax(1).reshape(height, width)


@pytest.mark.slow
def test_mean_field_agrees_with_its_definition():
    pixels = picture(30, 24)
    rng = np.random.default_rng(0)
    ground_truth = (pixels[..., 0] > 150).astype(int) + 2 * (pixels[..., 2] > 150)
    scores = rng.normal(0, 1.2, (24, 30, 4)) + 1.5 * np.eye(4)[ground_truth.clip(0, 3)]
    probability = np.exp(scores) / np.exp(scores).sum(2, keepdims=True)
    crf = DenseCrf(appearance_space=20.0, appearance_colour=20.0, smoothness_space=1.5)
    expected = naive_mean_field(crf, pixels, probability)
    found = crf.refine(pixels, probability.astype(np.float32))
    assert (found == expected).mean() > 0.97
    assert (probability.argmax(2) == expected).mean() < 0.9  # there was something to refine


def test_labels_that_are_likely_nowhere_are_left_out():
    probability = np.full((8, 9, 21), 1e-4, np.float32)
    probability[..., 15] = 1 - 20e-4
    assert (DenseCrf().refine(picture(9, 8), probability) == 15).all()


@pytest.mark.parametrize("seed", range(3))
def test_component_under_the_click(seed):
    labels = np.random.default_rng(seed).integers(0, 3, (9, 11))
    parts = components(labels, background=-1, connectivity=2)
    for y, x in np.ndindex(9, 11):
        np.testing.assert_array_equal(component(labels, x, y), parts == parts[y, x])


def test_files_that_are_no_segmenter(tmp_path):
    import torch

    (tmp_path / "a.pth").write_bytes(b"nothing")
    with pytest.raises(MethodError, match="not a state dict"):
        Segmenter(tmp_path / "a.pth")
    torch.save({"x": torch.zeros(1)}, tmp_path / "b.pth")
    with pytest.raises(MethodError, match="has no tensor"):
        Segmenter(tmp_path / "b.pth")


@pytest.mark.slow
@pytest.mark.parametrize("crf", [None, DenseCrf()])
def test_the_segmenter_finds_people(shared_data, shared_weights, crf):
    from clickcut_eval.clicker import Clicker
    from clickcut_eval.data_spec import DataSpec
    from clickcut_eval.datasets import open_dataset

    weights = shared_weights / "deeplab_v3_mobilenet_v2_voc21_fused.pth"
    method = Semantic(weights, crf)
    _, targets = open_dataset(DataSpec("voc", str(shared_data / "voc")))
    target = next(t for t in targets if t.name == "2011_003019_4" or t.category == "aeroplane")
    ground_truth = target.ground_truth()
    clicker = Clicker(ground_truth.mask, ground_truth.ignore)
    method.set_image(target.pixels())
    assert not method.mask.any()
    method.add_click(*clicker.next_click(method.mask))
    assert clicker.iou(method.mask) > 0.7
    before = method.mask.copy()
    method.add_click(0, 0, False)
    np.testing.assert_array_equal(method.mask, before)
