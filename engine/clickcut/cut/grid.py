"""Our own solver: a search that visits pixels only where signs meet. See docs/cut.md."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.cut import flow
from clickcut.cut.carry import carry, clear_numbers
from clickcut.cut.contour import blocks_of, find_contour, sweep
from clickcut.cut.graph import (
    END,
    PROGRESS,
    RECORD,
    SINK,
    TREE,
    Field,
    Graph,
    X,
    Y,
    enlarged,
    make_graph,
    renew,
    start_search,
)
from clickcut.cut.memory import PAGE, count_pages, reserve
from clickcut.cut.problem import OBJECT, Samples, disc_offsets, stamp_seeds
from clickcut.cut.weights import TILE_LISTED, TILE_MISSING, EdgeWeights, missing_tiles
from clickcut.kernels import kernel
from clickcut.region import Region

FIRST_ROOM = 2**16
"""Number of nodes that a new graph has room for; only those created take memory."""

FEW = 4096
"""With fewer nodes than this, memory is never freed."""

STALE = 2
"""Nodes without flow are removed when the number of nodes exceeds this multiple of their number
after the first solve since the last removal."""

OLD = 4
"""If the remaining nodes exceed this multiple of those of a cold solve, all are removed: flow along
old contours keeps them."""

SPARE = 8
"""Memory is freed when the graph has room for more than this multiple of its nodes."""


class GridSolver:
    """Solves cuts on one image, warm-started. Not thread-safe.

    Args:
        edges: of the image.

    Attributes:
        graph: of the last call; its nodes are RECORD, 2 RECORD, .. below progress[END].
        progress: (PROGRESS,) int64, of its search, see `graph.END`.
    """

    def __init__(self, edges: EdgeWeights) -> None:
        self.progress = np.zeros(PROGRESS, np.int64)
        self._edges = edges
        self._ready = np.zeros(edges.tiles, np.uint8)
        self._tiles = np.empty(self._ready.size, np.int32)
        self._mixed = np.empty((0, 4), np.int32)
        self._signs = np.empty(0, np.uint8)
        self.reset()

    @staticmethod
    def check_installed() -> None:
        """Check nothing: it comes with the package."""

    def reset(self) -> None:
        """Discard the graph of the last call."""
        self.graph = make_graph(FIRST_ROOM)
        self.progress[END] = self._touched = RECORD
        self._region: Region | None = None
        self._number = np.empty(0, np.int32)
        self._most = 0
        self._fresh = RECORD
        self._ready[self._ready == TILE_LISTED] = (
            TILE_MISSING  # `missing_tiles` may have been left in between
        )

    @property
    def nbytes(self) -> int:
        """Memory in bytes, without pages of `Field.number` whose nodes were all removed."""
        number = 0
        if self._region is not None:
            pixels = self._pixels(RECORD)
            seen = np.zeros(self._number.nbytes // PAGE + 1, np.uint8)
            used = PAGE * count_pages(pixels[:, 1] * self._region.width + pixels[:, 0], seen, PAGE)
            number = min(self._number.nbytes, used)
        graph = min(self.graph.nbytes, -(-self._touched * self.graph.itemsize // PAGE) * PAGE)
        own = (self._ready, self._tiles, self._mixed, self._signs, self.progress)
        return number + graph + sum(a.nbytes for a in own)

    def _pixels(self, first: int) -> NDArray[np.int32]:
        """Return the pixels of the nodes from `first` on, (N, 2) int32, x and y in the region."""
        nodes = self.graph[first : self.progress[END]].reshape(-1, RECORD)
        return nodes[:, X : Y + 1]

    def solve(
        self, samples: Samples, region: Region, seeds: NDArray[np.int32], seed_radius: float
    ) -> NDArray[np.bool_]:
        """Return the mask of the region, (h, w) bool.

        Args:
            samples: of the region.
            region: inside the image.
            seeds: (N, 3) int32, see `Cut.solve`.
            seed_radius: image pixels.
        """
        try:
            return self._solve(samples, region, seeds, seed_radius)
        except BaseException:
            self.reset()  # the graph may be inconsistent
            raise

    def _solve(
        self, samples: Samples, region: Region, seeds: NDArray[np.int32], seed_radius: float
    ) -> NDArray[np.bool_]:
        room = blocks_of(region.width, region.height) + 1
        if self._mixed.shape[0] < room:
            self._mixed = np.empty((room, 4), np.int32)
        if self._signs.size != samples.value.shape[1]:
            self._signs = np.empty(samples.value.shape[1], np.uint8)
        state = np.zeros((region.height, region.width), np.uint8)
        rectangles = sweep(samples, state, self._mixed, self._signs)
        box = stamp_seeds(seeds, disc_offsets(seed_radius), region.x0, region.y0, state)
        if box[0] < box[2]:
            self._mixed[rectangles] = box
            rectangles += 1
        self._enter(region)
        fresh = self.progress[END] == RECORD
        field = Field(
            samples, state, self._number, self._edges.store, self._ready,
            self._edges.image.shape[1], region.x0, region.y0,
        )  # fmt: skip
        self._plant(field, rectangles)
        self._search(field, region)
        if fresh:
            self._fresh = int(self.progress[END])
        write_mask(state, self.graph, self.progress[END], *box)
        return state.view(np.bool_)

    def _enter(self, region: Region) -> None:
        """Move the graph of the last call to this region, in place; drop nodes if it has many."""
        end, last = int(self.progress[END]), self._region
        many = end > self._most
        if region == last and not many:
            return
        if last is not None:
            clear_numbers(self.graph, end, self._number, last.width)
        if region != last:
            self._number = reserve(region.area)
        if last is not None:
            end = carry(
                self.graph, end, last.x0 - region.x0, last.y0 - region.y0,
                region.width, region.height, not many, self._number,
            )  # fmt: skip
            if many and end > OLD * self._fresh + FEW * RECORD:
                clear_numbers(self.graph, end, self._number, region.width)
                end = RECORD
        self._region = region
        self.progress[END] = end
        if many:
            self._most = 0
        if self._touched > SPARE * (end + FEW * RECORD):
            used = self.graph[:end]
            self.graph = make_graph(max(FIRST_ROOM, 2 * end // RECORD))
            self.graph[:end] = used
            self._touched = end

    def _plant(self, field: Field, rectangles: int) -> None:
        """Create the nodes to start from, and the queue."""
        end = int(self.progress[END])
        renew(field, self.graph, end)
        while (extended := find_contour(field, self.graph, self._mixed, rectangles, end)) < 0:
            end = -extended
            self.graph = enlarged(self.graph)
        end = extended
        while not start_search(field, self.graph, end, self.progress):
            end = int(self.progress[END])
            self.graph = enlarged(self.graph)

    def _search(self, field: Field, region: Region) -> None:
        """Run the search, providing tiles and room as needed."""
        progress, fetched = self.progress, RECORD
        while True:
            outcome = flow.search(field, self.graph, progress)
            if outcome == flow.NEEDS_TILE:
                # Compute the tiles of all new nodes at once: the search needs most of them.
                missing = missing_tiles(
                    self._pixels(fetched), region.x0, region.y0, self._ready, self._tiles
                )
                fetched = int(progress[END])
                self._edges.ensure(self._tiles[:missing], self._ready)
            elif outcome == flow.NEEDS_ROOM:
                self.graph = enlarged(self.graph)
            else:
                break
        end = int(progress[END])
        self._touched = max(self._touched, end)
        if self._most == 0:
            self._most = STALE * end + FEW * RECORD


@kernel
def write_mask(
    state: NDArray[np.uint8], graph: Graph, end: int, x0: int, y0: int, x1: int, y1: int
) -> None:
    """Turn state bytes into 1 = object, 0 = background; only nodes and seeds need it."""
    for y in range(y0, y1):
        for x in range(x0, x1):
            state[y, x] &= OBJECT
    for i in range(RECORD, end, RECORD):
        state[graph[i + Y], graph[i + X]] = 0 if graph[i + TREE] == SINK else 1
