"""The two layers of a selection: `clicks` (points) and `selection` (labels)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.region import Region
from clickcut.selection import Selection
from clickcut_napari.plane import Plane, data_of

CLICKS, SELECTION = "clicks", "selection"

POSITIVE = "positive"
"""Column of the features of `clicks`."""

MAX_LABEL = 65_535
"""Largest number of an object; labels are uint16."""

_COLOURS = {True: "lime", False: "red"}
_SYMBOLS = {True: "disc", False: "cross"}
_SCREEN_SIZE = 12

PlaneClick = tuple[int, int, bool]
"""x and y of a pixel of a plane, and whether it is on the object."""


class SelectionLayers:
    """Creates the two layers of an image and changes them.

    Args:
        viewer: of napari.
        image: an image layer of it.

    Attributes:
        clicks: the points layer.
        selection: the labels layer.
    """

    def __init__(self, viewer: Any, image: Any) -> None:
        sizes = data_of(image).shape[: image.ndim]
        placed = {
            name: getattr(image, name)
            for name in ("scale", "translate", "rotate", "shear", "affine", "units")
            if hasattr(image, name)
        }
        self.selection = viewer.add_labels(
            np.zeros(sizes, np.uint16), name=SELECTION, opacity=0.5, **placed
        )
        self.clicks = viewer.add_points(
            np.zeros((0, image.ndim)),
            ndim=image.ndim,
            name=CLICKS,
            features={POSITIVE: np.zeros(0, np.bool_)},
            face_color=_COLOURS[True],
            border_color="white",
            size=_SCREEN_SIZE,
            canvas_size_limits=(_SCREEN_SIZE, _SCREEN_SIZE),
            **placed,
        )
        self.clicks.mode = "pan_zoom"
        self._changing = False
        self.set_sign(True)

    @property
    def is_changing(self) -> bool:
        """Whether `clicks` is being changed from here, not by a person."""
        return self._changing

    @contextmanager
    def _change(self) -> Iterator[None]:
        before, self._changing = self._changing, True
        try:
            yield
        finally:
            self._changing = before

    def set_sign(self, positive: bool) -> None:
        """Say what points are that a person adds with napari's own tools."""
        with self._change():
            self.clicks.selected_data = set()
            self.clicks.feature_defaults = {POSITIVE: positive}
            self.clicks.current_face_color = _COLOURS[positive]
            self.clicks.current_symbol = _SYMBOLS[positive]

    def points_in(self, plane: Plane) -> list[PlaneClick]:
        """Return the points of a plane, in order; positions are rounded to pixels."""
        data = np.asarray(self.clicks.data)
        signs = np.asarray(self.clicks.features[POSITIVE], np.bool_)
        inside = plane.contains(data)
        return [
            (round(row[plane.columns]), round(row[plane.rows]), bool(sign))
            for row, sign in zip(data[inside].tolist(), signs[inside].tolist(), strict=True)
        ]

    def show_points(self, planes: Sequence[tuple[Plane, Sequence[PlaneClick]]]) -> None:
        """Show points: those of each plane, and no others."""
        rows = [plane.coordinates(x, y) for plane, clicks in planes for x, y, _ in clicks]
        signs = [sign for _, clicks in planes for *_, sign in clicks]
        default = bool(self.clicks.feature_defaults[POSITIVE].iloc[0])
        with self._change():
            self.clicks.selected_data = set()
            self.clicks.data = np.array(rows, np.float64).reshape(-1, self.clicks.ndim)
            self.clicks.features = {POSITIVE: np.array(signs, np.bool_)}
            if signs:
                self.clicks.face_color = [_COLOURS[sign] for sign in signs]
                self.clicks.symbol = [_SYMBOLS[sign] for sign in signs]
            self.set_sign(default)

    def label_of(self, plane: Plane, label: int) -> Selection:
        """Return the pixels of a plane that have a label."""
        return Selection.of(np.asarray(plane.of(self.selection.data)) == label)

    def highest_label(self, plane: Plane) -> int:
        """Return the largest label of a plane."""
        return int(np.max(plane.of(self.selection.data), initial=0))

    def paint(
        self,
        plane: Plane,
        label: int,
        mask: NDArray[np.bool_],
        base: Selection,
        region: Region,
    ) -> None:
        """Give a label to a mask; pixels of other labels stay as they are.

        Args:
            plane: to paint on.
            label: of the object.
            mask: (H, W) bool, of the plane's size.
            base: pixels that had the label before the object was begun; they keep it.
            region: where anything may have changed.
        """
        view = plane.of(self.selection.data)[region.slices]
        wanted = mask[region.slices] | base.inside(region)
        view[(view == label) & ~wanted] = 0
        view[wanted & (view == 0)] = label
        self.selection.refresh()
