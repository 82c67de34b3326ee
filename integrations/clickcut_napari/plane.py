"""Which plane of an image layer a viewer shows."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.errors import EventError

MAX_DIMENSIONS = 3
"""A labels layer of more would soon not fit into memory."""


@dataclass(frozen=True)
class Plane:
    """A plane that is shown: two axes of a layer, and a position on the others.

    Attributes:
        layer: of napari, an image.
        index: per axis of the layer: the position, or None for the two axes shown.
        rows: axis that is shown downwards.
        columns: axis that is shown to the right.
        height: pixels along `rows`.
        width: pixels along `columns`.
    """

    layer: Any
    index: tuple[int | None, ...]
    rows: int
    columns: int
    height: int
    width: int

    @staticmethod
    def shown(viewer: Any, layer: Any) -> Plane:
        """Return the plane of a layer that a viewer shows.

        Args:
            viewer: of napari.
            layer: an image of it.

        Raises:
            EventError: there is no such plane; the message says what to do.
        """
        if layer.ndim > MAX_DIMENSIONS:
            raise EventError(
                f"{layer.name!r} has {layer.ndim} dimensions; this works on 2D images and on "
                "slices of 3D or time: split it into stacks first (right click on the layer)"
            )
        if viewer.dims.ndisplay != 2:
            raise EventError("the view is 3D; switch to 2D to click (the cube, lower left)")
        offset = viewer.dims.ndim - layer.ndim
        rows, columns = (axis - offset for axis in viewer.dims.displayed)
        if min(rows, columns) < 0:
            raise EventError(f"the view does not show both axes of {layer.name!r}; roll them back")
        point = layer.world_to_data(viewer.dims.point)
        index: list[int | None] = [None] * layer.ndim
        sizes = data_of(layer).shape
        for axis in range(layer.ndim):
            if axis not in (rows, columns):
                position = round(float(point[axis]))
                if not 0 <= position < sizes[axis]:
                    raise EventError(f"{layer.name!r} has nothing at this slice; move the slider")
                index[axis] = position
        deep = any(i is not None for i in index)
        if deep and layer.projection_mode != "none" and any(viewer.dims.thickness):
            raise EventError("several slices are shown as one; set the projection mode to none")
        return Plane(layer, tuple(index), rows, columns, sizes[rows], sizes[columns])

    @property
    def key(self) -> Hashable:
        """The same for the same plane of the same layer."""
        return id(self.layer), self.index, self.rows < self.columns

    def of(self, array: Any) -> Any:
        """Return this plane of an array with the layer's axes, (H, W, ...); a view of NumPy's."""
        part = array[tuple(slice(None) if i is None else i for i in self.index)]
        if self.rows < self.columns:
            return part
        return part.transpose((1, 0, *range(2, part.ndim)))

    def pixel(self, position: Any) -> tuple[int, int]:
        """Return the pixel (x, y) at a position in the world.

        Raises:
            EventError: it is outside the plane.
        """
        found = np.rint(self.layer.world_to_data(position)).astype(int)
        x, y = int(found[self.columns]), int(found[self.rows])
        if not (0 <= x < self.width and 0 <= y < self.height):
            raise EventError(f"the click is outside {self.layer.name!r}")
        return x, y

    def coordinates(self, x: float, y: float) -> NDArray[np.float64]:
        """Return a position in the plane as (ndim,) float64 of the layer's axes."""
        out = np.array([0 if i is None else i for i in self.index], np.float64)
        out[self.rows], out[self.columns] = y, x
        return out

    def contains(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of (N, ndim) points of the layer's axes lie in the plane, (N,) bool."""
        out = np.ones(len(points), np.bool_)
        for axis, position in enumerate(self.index):
            if position is not None:
                out &= np.rint(points[:, axis]) == position
        return out


def data_of(layer: Any) -> Any:
    """Return the pixels of a layer at full resolution, any array that can be indexed."""
    return layer.data[0] if layer.multiscale else layer.data
