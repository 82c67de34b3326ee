"""Solve the full problem with PyMaxflow (GPL): the reference, and optional for users."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.cut.problem import Samples, unaries
from clickcut.cut.weights import EdgeWeights
from clickcut.errors import CutError
from clickcut.region import Region

_TOWARDS = (
    [[0, 0, 0], [0, 0, 1], [0, 0, 0]],
    [[0, 0, 0], [0, 0, 0], [0, 1, 0]],
    [[0, 0, 0], [0, 0, 0], [0, 0, 1]],
    [[0, 0, 0], [0, 0, 0], [1, 0, 0]],
)
"""Structures of PyMaxflow for the neighbours E, S, SE, SW."""


class FullSolver:
    """Solves cuts with PyMaxflow; warm while the region is unchanged. Holds the interpreter lock.

    Args:
        edges: of the image.

    Raises:
        CutError: PyMaxflow is not installed.
    """

    def __init__(self, edges: EdgeWeights) -> None:
        self.check_installed()
        import maxflow

        self._maxflow: Any = maxflow
        self._edges = edges
        self.reset()

    @staticmethod
    def check_installed() -> None:
        """Check that PyMaxflow is there.

        Raises:
            CutError: it is not.
        """
        try:
            import maxflow  # noqa: F401
        except ImportError as error:
            raise CutError(
                "the cut solver 'pymaxflow' is not installed: pip install 'clickcut[pymaxflow]', "
                "or use 'grid'"
            ) from error

    def reset(self) -> None:
        """Discard the graph of the last call."""
        self._graph: Any = None
        self._nodes = np.empty((0, 0), np.int64)
        self._unary = np.empty((0, 0), np.int32)
        self._region: Region | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held; the graph's own are estimated from its nodes and edges."""
        graph = 0 if self._graph is None else 48 * self._nodes.size + 8 * 32 * self._nodes.size
        return graph + self._nodes.nbytes + self._unary.nbytes

    def solve(
        self, samples: Samples, region: Region, seeds: NDArray[np.int32], seed_radius: float
    ) -> NDArray[np.bool_]:
        """See `GridSolver.solve`."""
        unary = unaries(samples, region, seeds, seed_radius)
        try:
            if region == self._region:
                self._change(unary)
            else:
                self._build(unary, region)
            self._graph.maxflow(reuse_trees=region == self._region)
        except BaseException:
            self.reset()  # the graph may be inconsistent
            raise
        self._unary, self._region = unary, region
        # Pixels in neither tree count as source: the mask with most object pixels.
        sink: NDArray[np.bool_] = self._graph.get_grid_segments(self._nodes)
        return ~sink

    def _change(self, unary: NDArray[np.int32]) -> None:
        """Add the differences of the unaries and mark their nodes (Kohli and Torr 2005)."""
        change = unary.astype(np.int64) - self._unary
        touched = change != 0
        nodes = np.ascontiguousarray(self._nodes[touched])
        if nodes.size:
            self._graph.add_grid_tedges(nodes, change[touched], np.zeros(nodes.size, np.int64))
            self._graph.mark_grid_nodes(nodes)

    def _build(self, unary: NDArray[np.int32], region: Region) -> None:
        self.reset()
        weights = self._edges.dense(region)
        self._graph = self._maxflow.GraphInt(unary.size, 4 * unary.size)
        self._nodes = self._graph.add_grid_nodes(unary.shape)
        for k, structure in enumerate(_TOWARDS):
            self._graph.add_grid_edges(
                self._nodes, weights[..., k], np.array(structure), symmetric=True
            )
        positive, negative = np.maximum(unary, 0), np.maximum(-unary, 0)
        self._graph.add_grid_tedges(self._nodes, positive, negative)
