"""The methods without learning against naive or library references on small cases."""

from __future__ import annotations

import dataclasses

import cv2
import naive_methods as naive
import numpy as np
import pytest
from fakes import picture
from hypothesis import given, settings
from hypothesis import strategies as st

from clickcut.cut.problem import DX, DY
from clickcut_eval.clicker import Clicker
from clickcut_eval.methods import CLASSICAL, build, choose
from clickcut_eval.methods.base import BACKGROUND, OBJECT, Seeds, lab
from clickcut_eval.methods.colour import BINS, LOW, WIDTH, ColourModel
from clickcut_eval.methods.geodesic_matting import SCALE, GeodesicMatting
from clickcut_eval.methods.graph_cut import GraphCut
from clickcut_eval.methods.growcut import GrowCut
from clickcut_eval.methods.paths import NO_PARENT
from clickcut_eval.methods.random_walker import RandomWalker, laplacian, walk
from clickcut_eval.methods.star import EuclideanStar, GeodesicStar, path_costs
from clickcut_eval.methods.star_shape import fixed_labels, line_parents, star_cut


def made(name, **options):
    return build(choose([name], None, {}, {}, {name: options} if options else None)[0])


# ---- what all have in common


@given(
    st.lists(
        st.tuples(st.integers(0, 19), st.integers(0, 14), st.booleans()), min_size=1, max_size=5
    ),
    st.sampled_from([1.0, 2.5, 5.0]),
)
@settings(deadline=None)
def test_seeds_are_discs_and_the_nearest_click_wins(clicks, radius):
    seeds = Seeds(15, 20, radius)
    expected = np.zeros((15, 20), int)
    for click in clicks:
        before = seeds.label.copy()
        seeds.add(*click)
        changed = (seeds.latest != 0) & (before != 0) & (before != seeds.latest)
        assert seeds.flipped == changed.any()
    for y, x in np.ndindex(15, 20):
        near = [((x - cx) ** 2 + (y - cy) ** 2, -n) for n, (cx, cy, _) in enumerate(clicks)]
        squared, n = min(near)
        if squared <= radius**2:
            expected[y, x] = OBJECT if clicks[-n][2] else BACKGROUND
    np.testing.assert_array_equal(seeds.label, expected)


def test_the_border_is_background_until_the_first_negative_click():
    seeds = Seeds(20, 30, 3)
    seeds.add(1, 10, True)
    bordered = seeds.with_border()
    assert bordered[0, 5] == bordered[19, 5] == bordered[5, 29] == BACKGROUND
    assert bordered[10, 0] == OBJECT
    seeds.add(20, 10, False)
    np.testing.assert_array_equal(seeds.with_border(), seeds.label)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in CLASSICAL if n != "opencv-grabcut"])
def test_each_selects_a_simple_object_in_a_few_clicks(name, scene):
    pixels, mask = scene
    method, clicker = made(name), Clicker(mask, np.zeros_like(mask))
    for _ in range(2):  # a second image starts from scratch
        method.set_image(pixels)
        assert not method.mask.any()
        clicker = Clicker(mask, np.zeros_like(mask))
        masks = []
        for _ in range(6):
            click = clicker.next_click(method.mask)
            if click is None:
                break
            method.add_click(*click)
            masks.append(method.mask.copy())
    assert clicker.iou(method.mask) > 0.85
    assert method.mask.shape == mask.shape
    assert method.mask.dtype == bool
    assert method.probability.dtype == np.float32
    np.testing.assert_array_equal(method.probability > 0.5, method.mask)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CLASSICAL))
def test_each_takes_any_order_and_place_of_clicks(name):
    pixels = picture(40, 30)
    method = made(name)
    method.set_image(pixels)
    # Negative first, corners, the same pixel with both signs, overlapping discs.
    for x, y, positive in [
        (39, 29, False),
        (0, 0, True),
        (0, 0, False),
        (20, 15, True),
        (23, 15, False),
        (20, 15, True),
    ]:
        method.add_click(x, y, positive)
        assert method.mask.shape == (30, 40)
    assert method.mask[15, 20]
    assert not method.mask[29, 39]


@pytest.mark.parametrize("name", ["graph-cut", "euclidean-star", "random-walker"])
def test_large_images_are_reduced_and_masks_enlarged(name):
    pixels = cv2.resize(picture(160, 120), (320, 240), interpolation=cv2.INTER_CUBIC)
    ground_truth = pixels[..., 0] > 150
    method = made(name, max_pixels=160 * 120)
    method.set_image(pixels)
    assert method.pixels.shape == (120, 160, 3)
    for x, y, positive in [(106, 120, True), (260, 100, False), (20, 20, False)]:
        method.add_click(x, y, positive)
    assert method.mask.shape == ground_truth.shape
    assert Clicker(ground_truth, np.zeros_like(ground_truth)).iou(method.mask) > 0.85


def test_colour_densities():
    pixels = picture(12, 9)
    model = ColourModel(pixels, 6.0, 0.02, 10.0)
    label = np.zeros((9, 12), np.uint8)
    label[2:4, 3:6], label[7:, 8:] = OBJECT, BACKGROUND
    cells = np.clip((lab(pixels) - LOW) / WIDTH, 0, BINS - 1).astype(int)
    sigma = 6.0 / WIDTH
    image = [(c, 10.0 / 108) for c in cells.reshape(-1, 3)]
    inside = naive.densities(cells, cells[label == OBJECT], [], sigma, 0.02, BINS)
    outside = naive.densities(cells, cells[label == BACKGROUND], image, sigma, 0.02, BINS)
    expected = np.log(inside / outside)[tuple(np.moveaxis(cells, 2, 0))]
    np.testing.assert_allclose(model.log_ratio(label), expected, atol=0.06)
    # Without seeds, the uniform part is all there is.
    assert np.isfinite(model.log_ratio(np.zeros_like(label))).all()


# ---- graph cut


def test_graph_cut_is_the_minimum_of_its_energy():
    from clickcut.cut import Cut, EdgeWeights
    from clickcut.region import Region

    pixels = picture(40, 30)
    method = GraphCut()
    method.set_image(pixels)
    clicks = [(13, 15, True), (35, 5, False), (30, 12, True)]
    for click in clicks:
        method.add_click(*click)
    p = method.parameters
    seeds = Seeds(30, 40)
    for click in clicks:
        seeds.add(*click)
    ratio = ColourModel(pixels, p.bandwidth, p.floor, p.image_weight).log_ratio(seeds.label)
    edges = EdgeWeights(pixels, EdgeWeights(pixels).sigma * p.contrast)
    reference = Cut(edges, "pymaxflow").solve(
        ratio,
        Region(0, 0, 40, 30),
        np.array([(x, y, 1 if s else -1) for x, y, s in clicks], np.int32),
        p.cut_lambda,
        5.0,
    )
    np.testing.assert_array_equal(method.mask, reference)
    np.testing.assert_array_equal(method.mask[seeds.label > 0], seeds.label[seeds.label > 0] == 1)


# ---- geodesic matting


def test_geodesic_matting_gives_each_pixel_to_the_nearer_scribble():
    pixels = picture(30, 24)
    method = GeodesicMatting()
    method.set_image(pixels)
    for click in [(10, 12, True), (25, 4, False)]:
        method.add_click(*click)
    p = method.parameters
    label = method.seeds.label
    ratio = ColourModel(pixels, p.bandwidth, p.floor, p.image_weight).log_ratio(label)
    likely = 1 / (1 + np.exp(-ratio.astype(float)))
    costs = np.zeros((24, 30, 4))
    for y, x, k in np.ndindex(24, 30, 4):
        dy, dx = naive.NEIGHBOURS[2 * k]
        if 0 <= y + dy < 24 and 0 <= x + dx < 30:
            length = np.hypot(dy, dx)
            costs[y, x, k] = abs(likely[y, x] - likely[y + dy, x + dx]) + p.spatial * length
    to_object, to_background = (naive.distances(costs, label == k) for k in (OBJECT, BACKGROUND))
    clear = abs(to_object - to_background) > 60 / SCALE  # rounding of costs along a path
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(method.mask[clear], (to_object < to_background)[clear])


# ---- GrowCut


@pytest.mark.parametrize("seed", [0, 1])
def test_growcut_is_the_automaton_at_rest(seed):
    pixels = picture(22, 16, seed)
    method = GrowCut(GrowCut.Parameters(smoothing=0.0, decay=0.0))
    method.set_image(pixels)
    clicks = [(7, 8, True), (19, 2, False), (3, 14, False)]
    seeds = Seeds(16, 22)
    for click in clicks:
        method.add_click(*click)
        seeds.add(*click)
    label, strength = naive.growcut(lab(pixels).astype(float), seeds.label)
    against, rival = (
        naive.growcut(lab(pixels).astype(float), np.where(seeds.label == OBJECT, OBJECT, 0))[1],
        strength,
    )
    # Where the strongest seeds of both kinds are equally strong, rounding may decide.
    other = naive.growcut(lab(pixels).astype(float), np.where(seeds.label == 2, 2, 0))[1]
    clear = abs(against - other) > 0.005
    assert clear.mean() > 0.9
    assert rival.min() > 0
    np.testing.assert_array_equal(method.mask[clear], (label == OBJECT)[clear])


# ---- random walker


@pytest.mark.parametrize("beta", [30.0, 300.0])
def test_random_walker_solves_the_system_of_scikit_image(beta):
    from skimage.segmentation import random_walker

    colours = picture(40, 30) / 255
    seeds = np.zeros((30, 40), np.uint8)
    seeds[12:16, 10:15], seeds[2:5, 30:34] = OBJECT, BACKGROUND
    expected = random_walker(
        colours, seeds.astype(int), beta, "bf", channel_axis=-1, return_full_prob=True
    )[0]
    np.testing.assert_allclose(walk(laplacian(colours, beta), seeds), expected, atol=1e-4)


def test_random_walker_without_object_seeds_selects_nothing():
    method = RandomWalker()
    method.set_image(picture(40, 30))
    method.add_click(5, 5, False)
    assert not method.mask.any()


# ---- star convexity


@pytest.mark.kernels
@pytest.mark.parametrize("seed", range(8))
def test_the_star_cut_is_the_best_admissible_mask(seed):
    rng = np.random.default_rng(seed)
    height, width = 3, 4
    unary = rng.integers(-60, 60, (height, width)).astype(np.int32)
    weights = rng.integers(0, 40, (height, width, 4)).astype(np.int32)
    parents = line_parents(np.array([[1, 1]], np.int32), height, width)
    label = np.zeros((height, width), np.uint8)
    label[1, 1] = OBJECT
    label.reshape(-1)[rng.choice([0, 3, 8, 11])] = BACKGROUND
    fixed = fixed_labels(label, parents)
    least, energy, admissible = naive.least_star_energy(unary, weights, parents, label, NO_PARENT)
    mask = star_cut(unary, weights, parents, fixed)
    assert admissible(mask)
    assert energy(mask) == least


@pytest.mark.kernels
@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_labels_that_follow_from_seeds(seed):
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 8, (2, 2)).astype(np.int32)
    parents = line_parents(centres, 8, 8)
    label = rng.choice(3, (8, 8), p=[0.9, 0.05, 0.05]).astype(np.uint8)
    fixed = fixed_labels(label, parents)
    for y, x in np.ndindex(8, 8):
        way, v, u = [], y, x
        while parents[v, u] != NO_PARENT:
            way.append((v, u))
            v, u = v + DY[parents[v, u]], u + DX[parents[v, u]]
        way.append((v, u))
        assert [v, u] in centres[:, ::-1].tolist()
        if label[y, x] == OBJECT:
            assert all(fixed[p] == OBJECT for p in way)
        on_object_way = fixed[y, x] == OBJECT
        first = next((p for p in way if label[p] == BACKGROUND or fixed[p] == OBJECT), None)
        behind = first is not None and fixed[first] != OBJECT
        assert (fixed[y, x] == BACKGROUND) == (behind and not on_object_way)


def test_each_step_follows_the_straight_line_to_the_nearest_click():
    parents = line_parents(np.array([[10, 10], [40, 12]], np.int32), 24, 50)
    for y, x in np.ndindex(24, 50):
        centre = min([(10, 10), (12, 40)], key=lambda c: (c[0] - y) ** 2 + (c[1] - x) ** 2)
        along = np.array([centre[0] - y, centre[1] - x], float)
        if not along.any():
            assert parents[y, x] == NO_PARENT
            continue

        def off_the_line(k, along=along):
            step = np.array([DY[k], DX[k]], float)
            if step @ along <= 0:
                return np.inf
            # Compared where the line has gone as far along its longer axis as the step.
            reached = along / np.abs(along).max()
            return np.linalg.norm(step - reached)

        best = min(off_the_line(k) for k in range(8))
        assert off_the_line(parents[y, x]) == pytest.approx(best)


def test_geodesic_ways_have_the_costs_of_the_paper():
    from clickcut.cut import EdgeWeights

    pixels = picture(12, 10)
    sigma = EdgeWeights(pixels).sigma
    for gamma in (0.0, 0.6):
        costs = path_costs(pixels, gamma)
        for y, x, k in np.ndindex(9, 11, 4):
            dy, dx = naive.NEIGHBOURS[2 * k]
            if x + dx >= 0:
                change = np.linalg.norm(pixels[y, x].astype(float) - pixels[y + dy, x + dx]) / sigma
                expected = 60 * np.sqrt((1 - gamma) * (dy**2 + dx**2) + gamma * change**2)
                assert costs[y, x, k] == pytest.approx(expected, abs=60 * 0.125 / sigma + 0.51)


@pytest.mark.parametrize("cls", [EuclideanStar, GeodesicStar])
def test_stars_are_star_shaped(cls):
    pixels = picture(80, 60)
    method = cls(dataclasses.replace(cls.Parameters(), max_pixels=0))
    method.set_image(pixels)
    for x, y, positive in [(26, 30, True), (60, 24, True), (40, 10, False), (70, 50, False)]:
        method.add_click(x, y, positive)
    parents = method._parents()
    for y, x in zip(*np.nonzero(method.mask & (parents != NO_PARENT)), strict=True):
        assert method.mask[y + DY[parents[y, x]], x + DX[parents[y, x]]]
    assert method.mask[30, 26]
    assert method.mask[24, 60]
    assert not method.mask[10, 40]


# ---- OpenCV's GrabCut


def test_opencv_grabcut_is_what_opencv_gives(scene):
    pixels, _ = scene
    method = made("opencv-grabcut", iterations=1, first_iterations=2)
    method.set_image(pixels)
    method.add_click(26, 30, True)
    labels = np.full(pixels.shape[:2], cv2.GC_PR_BGD, np.uint8)
    seeds = method.seeds.with_border()
    labels[seeds == OBJECT], labels[seeds == BACKGROUND] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(pixels[..., ::-1])
    cv2.grabCut(bgr, labels, None, *models, 2, cv2.GC_INIT_WITH_MASK)
    np.testing.assert_array_equal(method.mask, (labels == 1) | (labels == 3))
    method.add_click(60, 24, False)
    assert not method.mask[24, 60]
