"""The kernels of the search, one by one, against the slow code."""

from __future__ import annotations

import naive_cut as naive
import numpy as np
import pytest
from cut_cases import Problem, histories, problems
from hypothesis import given, settings
from hypothesis import strategies as st

from clickcut.cut import Cut, EdgeWeights
from clickcut.cut.carry import carry, clear_numbers
from clickcut.cut.contour import find_contour, sweep
from clickcut.cut.graph import (
    CAPACITY,
    DEPTH,
    END,
    EXCESS,
    EXPANDED,
    FREE,
    NEIGHBOUR,
    RECORD,
    SINK,
    SOURCE,
    TREE,
    UNARY,
    Field,
    X,
    Y,
    add_node,
    enlarged,
    expand,
    make_graph,
)
from clickcut.cut.grid import GridSolver
from clickcut.cut.problem import DX, DY, NODE, disc_offsets, make_samples, stamp_seeds, unaries
from clickcut.cut.weights import TILE, missing_tiles
from clickcut.errors import CutError
from clickcut.region import Region

pytestmark = pytest.mark.kernels


def field_of(problem: Problem, edges: EdgeWeights) -> Field:
    region = problem.region
    samples = make_samples(problem.logits, region.width, region.height, problem.cut_lambda)
    assert samples is not None
    state = np.zeros((region.height, region.width), np.uint8)
    scratch = np.empty(samples.value.shape[1], np.uint8)
    sweep(samples, state, np.empty((1000, 4), np.int32), scratch)
    offsets = disc_offsets(problem.seed_radius)
    stamp_seeds(problem.seeds, offsets, region.x0, region.y0, state)
    edges.dense(region)
    return Field(
        samples, state, np.zeros(region.area, np.int32), edges.store,
        np.ones(edges.tiles, np.uint8), edges.image.shape[1], region.x0, region.y0,
    )  # fmt: skip


def unaries_of(problem: Problem, field: Field) -> np.ndarray:
    return unaries(field.samples, problem.region, problem.seeds, problem.seed_radius)


@given(problems(most=9))
@settings(max_examples=60, deadline=None)
def test_contour(problem: Problem) -> None:
    field = field_of(problem, EdgeWeights(problem.image))
    height, width = field.state.shape
    graph = make_graph(200)
    everywhere = np.array([[0, 0, width, height]], np.int32)
    end = find_contour(field, graph, everywhere, 1, RECORD)
    u = unaries_of(problem, field)
    is_node = field.number.reshape(height, width) != 0
    np.testing.assert_array_equal(is_node, naive.contour_of(u))
    np.testing.assert_array_equal(is_node, field.state & NODE != 0)
    nodes = graph[RECORD:end].reshape(-1, RECORD)
    assert (nodes[:, UNARY] == u[nodes[:, Y], nodes[:, X]]).all()
    assert (nodes[:, EXCESS] == nodes[:, UNARY]).all()
    # Without room it says so, and what it has made is there.
    again = field_of(problem, EdgeWeights(problem.image))
    if end > RECORD:
        assert find_contour(again, make_graph(5), everywhere, 1, RECORD) == -RECORD


@given(problems(most=9))
@settings(max_examples=60, deadline=None)
def test_expand(problem: Problem) -> None:
    edges = EdgeWeights(problem.image)
    field = field_of(problem, edges)
    height, width = field.state.shape
    graph = make_graph(100)
    add_node(field, graph, 0, 0, RECORD)
    end, i = 2 * RECORD, RECORD
    while i < end:  # all pixels are reached from the first
        end = expand(field, graph, i, end)
        i += RECORD
    assert end // RECORD == height * width + 1
    capacity = np.zeros((width * height, width * height), np.int64)
    for p, q, w in naive.edges_of(edges.dense(problem.region)):
        capacity[p, q] = capacity[q, p] = w
    for i in range(RECORD, end, RECORD):
        x, y = graph[i + X], graph[i + Y]
        assert graph[i + EXPANDED] == 1
        for k in range(8):
            u, v = x + DX[k], y + DY[k]
            q = graph[i + NEIGHBOUR + k]
            if not (0 <= u < width and 0 <= v < height):
                assert q == 0
                continue
            assert (graph[q + X], graph[q + Y]) == (u, v)
            assert graph[i + CAPACITY + k] == capacity[y * width + x, v * width + u]


@given(histories(most=40, steps=3))
@settings(max_examples=60, deadline=None)
def test_state_after_a_solve(history: list[Problem]) -> None:
    """Flow is conserved and within the weights; no residual edge leads into the sink's tree; the
    pixels that were not looked at have only neighbours of their own sign and tree."""
    edges = EdgeWeights(history[0].image)
    solver = GridSolver(edges)
    for problem in history:
        region = problem.region
        field = field_of(problem, edges)
        solver.solve(field.samples, region, problem.seeds, problem.seed_radius)
        graph, end = solver.graph, int(solver.progress[END])
        u = unaries_of(problem, field)
        weights = edges.dense(region)
        tree = np.where(u > 0, SOURCE, np.where(u < 0, SINK, FREE))
        known = np.zeros(u.shape, np.bool_)
        for i in range(RECORD, end, RECORD):
            y, x = graph[i + Y], graph[i + X]
            tree[y, x] = graph[i + TREE]
            known[y, x] = True
            flow = 0
            for k in range(8):
                q = int(graph[i + NEIGHBOUR + k])
                if q == 0:
                    continue
                forth, back = int(graph[i + CAPACITY + k]), int(graph[q + CAPACITY + (k ^ 1)])
                at = (y, x) if k % 2 == 0 else (graph[q + Y], graph[q + X])
                assert forth >= 0
                assert forth + back == 2 * weights[at][k // 2]
                flow += (back - forth) // 2
                assert not (forth > 0 and graph[i + TREE] != SINK and graph[q + TREE] == SINK)
            assert graph[i + UNARY] == u[y, x]
            assert graph[i + EXCESS] == u[y, x] - flow
            assert graph[i + TREE] == FREE or graph[i + DEPTH] >= 1
            assert graph[i + EXCESS] == 0 or graph[i + TREE] == (
                SOURCE if graph[i + EXCESS] > 0 else SINK
            )
        for p, q, w in naive.edges_of(weights):
            a, b = np.unravel_index([p, q], u.shape)
            a, b = (a[0], b[0]), (a[1], b[1])
            if w and not (known[a] and known[b]):
                assert (tree[a] == SINK) == (tree[b] == SINK)


def flows_of(solver: GridSolver, region: Region) -> dict[tuple[int, int, int], int]:
    """Flow on all edges of a graph that have some: by x and y in the image, and direction."""
    graph, flows = solver.graph, {}
    for i in range(RECORD, int(solver.progress[END]), RECORD):
        x, y = int(graph[i + X]) + region.x0, int(graph[i + Y]) + region.y0
        for k in range(8):
            q = int(graph[i + NEIGHBOUR + k])
            back, forth = int(graph[q + CAPACITY + (k ^ 1)]), int(graph[i + CAPACITY + k])
            if q and back != forth:
                flows[x, y, k] = (back - forth) // 2
    return flows


@given(histories(most=30, steps=2), st.booleans())
@settings(max_examples=60, deadline=None)
def test_flow_carried_over(history: list[Problem], all_nodes: bool) -> None:
    first, region = history[0], history[-1].region
    edges = EdgeWeights(first.image)
    solver = GridSolver(edges)
    samples = field_of(first, edges).samples
    solver.solve(samples, first.region, first.seeds, first.seed_radius)
    graph, end = solver.graph, int(solver.progress[END])
    before = graph[RECORD:end].reshape(-1, RECORD).copy()
    places = [(int(n[X]) + first.region.x0, int(n[Y]) + first.region.y0) for n in before]
    unary_of = dict(zip(places, before[:, UNARY].tolist(), strict=True))
    flows = flows_of(solver, first.region)

    clear_numbers(graph, end, solver._number, first.region.width)
    assert not solver._number.any()
    number = np.zeros(region.area, np.int32)
    dx, dy = first.region.x0 - region.x0, first.region.y0 - region.y0
    end = carry(graph, end, dx, dy, region.width, region.height, all_nodes, number)
    solver.progress[END] = end

    def inside(x: int, y: int) -> bool:
        return region.x0 <= x < region.x1 and region.y0 <= y < region.y1

    kept = {
        (x, y, k): flow
        for (x, y, k), flow in flows.items()
        if inside(x, y) and inside(x + int(DX[k]), y + int(DY[k]))
    }
    assert flows_of(solver, region) == kept
    nodes = {}
    for i in range(RECORD, end, RECORD):
        x, y = int(graph[i + X]), int(graph[i + Y])
        assert number[y * region.width + x] == i
        at = x + region.x0, y + region.y0
        nodes[at] = i
        out = sum(kept.get((*at, k), 0) for k in range(8))
        assert graph[i + UNARY] == unary_of[at]
        assert graph[i + EXCESS] == unary_of[at] - out
        around = [(at[0] + int(DX[k]), at[1] + int(DY[k])) for k in range(8)]
        assert not graph[i + EXPANDED] or all(
            graph[i + NEIGHBOUR + k] for k in range(8) if inside(*around[k])
        )
    assert np.count_nonzero(number) == len(nodes)
    for (x, y), i in nodes.items():
        for k in range(8):
            q = int(graph[i + NEIGHBOUR + k])
            assert q in (0, nodes.get((x + int(DX[k]), y + int(DY[k])), 0))
    within = {at for at in places if inside(*at)}
    assert (
        set(nodes) == within
        if all_nodes
        else {(x, y) for x, y, _ in kept} <= set(nodes) <= {(x, y) for x, y, _ in flows} & within
    )


def test_records_start_on_cache_lines() -> None:
    for room in (1, 7, 100):
        graph = make_graph(room)
        assert graph.ctypes.data % 64 == 0
        assert graph.size == room * RECORD
        assert enlarged(graph).size == 2 * graph.size


def test_too_many_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = np.broadcast_to(np.int32(0), 2**30 + RECORD)
    with pytest.raises(CutError, match="smaller region"):
        enlarged(huge)


def test_missing_tiles() -> None:
    ready = np.zeros((3, 4), np.uint8)
    ready[1, 2] = 1
    pixels = np.array([[0, 0], [5, 5], [TILE, TILE], [2 * TILE, TILE]], np.int32)
    tiles = np.empty(12, np.int32)
    # The region starts one column left of a tile boundary.
    count = missing_tiles(pixels, TILE - 1, 0, ready, tiles)
    assert tiles[:count].tolist() == [0, 1, 5]


def test_a_cut_interrupted_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 255, (30, 30, 3), np.uint8)
    edges = EdgeWeights(image)
    cut = Cut(edges)
    problem = Problem(
        image, np.random.default_rng(1).normal(0, 2, (9, 9)).astype(np.float32),
        Region(0, 0, 30, 30), np.empty((0, 3), np.int32), 0.3, 5.0,
    )  # fmt: skip
    want = problem.solve(cut)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("clickcut.cut.flow.search", fail)
        with pytest.raises(KeyboardInterrupt):
            problem.solve(cut)
    np.testing.assert_array_equal(problem.solve(cut), want)
