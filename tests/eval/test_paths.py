"""Shortest paths against a heap, and their costs."""

from __future__ import annotations

import naive_methods as naive
import numpy as np
import pytest

from clickcut.cut.problem import DX, DY
from clickcut_eval.methods.paths import FAR, MAX_COST, NO_PARENT, PathForest, difference_costs

pytestmark = pytest.mark.kernels


def random_case(seed, most):
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, most, (14, 17, 4), dtype=np.int32)
    seeds = np.zeros((14, 17), np.uint8)
    places = rng.choice(seeds.size, 6, replace=False)
    seeds.reshape(-1)[places] = [1, 2, 1, 2, 1, 2]
    return costs, seeds


@pytest.mark.parametrize("most", [2, 40, MAX_COST])
@pytest.mark.parametrize("seed", range(4))
def test_distances_labels_and_ways(seed, most):
    costs, seeds = random_case(seed, most)
    forest = PathForest(costs)
    forest.grow(seeds)
    near = {label: naive.distances(costs, seeds == label) for label in (1, 2)}
    np.testing.assert_array_equal(forest.distance, np.minimum(near[1], near[2]))
    decided = near[1] != near[2]
    expected = np.where(near[1] < near[2], 1, 2)
    np.testing.assert_array_equal(forest.label[decided], expected[decided])
    for y, x in np.ndindex(*seeds.shape):
        k = forest.parent[y, x]
        if k == NO_PARENT:
            assert seeds[y, x]
        else:
            cost = naive.edge(costs, y, x, k)
            assert forest.distance[y, x] == forest.distance[y + DY[k], x + DX[k]] + cost


@pytest.mark.parametrize("seed", range(4))
def test_seeds_may_come_later(seed):
    costs, seeds = random_case(seed, 300)
    at_once, later = PathForest(costs), PathForest(costs)
    at_once.grow(seeds)
    for label in (2, 1):
        later.grow(np.where(seeds == label, seeds, 0).astype(np.uint8))
    np.testing.assert_array_equal(later.distance, at_once.distance)


def test_without_seeds_nothing_is_reached():
    forest = PathForest(np.ones((3, 4, 4), np.int32))
    forest.grow(np.zeros((3, 4), np.uint8))
    assert (forest.distance == FAR).all()
    assert (forest.label == 0).all()
    assert (forest.parent == NO_PARENT).all()


def test_costs_of_differences():
    values = np.random.default_rng(0).uniform(0, 9, (5, 6, 3)).astype(np.float32)
    tables = np.stack([np.arange(100) * 3, np.arange(100) * 4]).astype(np.int32)
    costs = difference_costs(values, 10.0, tables)
    for y, x, k in np.ndindex(5, 6, 4):
        dy, dx = naive.NEIGHBOURS[2 * k]
        if 0 <= y + dy < 5 and 0 <= x + dx < 6:
            difference = np.linalg.norm(values[y, x] - values[y + dy, x + dx])
            index = min(int(difference * 10 + 0.5), 99)
            assert costs[y, x, k] == tables[k // 2, index]
        else:
            assert costs[y, x, k] == 0
