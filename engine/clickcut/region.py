"""The region: the part of the image that is the input of the network.

For the first click it is the whole image, for later ones a nearly square box around the selection
and the clicks, so that a small object in a large photograph gets the network's full resolution at
the same cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """A half-open box of image pixels: columns x0..x1-1, rows y0..y1-1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices that cut the region out of an (H, W, ...) array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def contains(self, other: Region) -> bool:
        """Return whether `other` lies inside this region."""
        return (
            self.x0 <= other.x0
            and self.y0 <= other.y0
            and other.x1 <= self.x1
            and other.y1 <= self.y1
        )

    def holds(self, x: int, y: int) -> bool:
        """Return whether pixel (x, y) lies inside this region."""
        return self.x0 <= x < self.x1 and self.y0 <= y < self.y1

    def relative_to(self, origin: Region) -> Region:
        """Return the same pixels, relative to the top-left pixel of `origin`."""
        return Region(
            self.x0 - origin.x0, self.y0 - origin.y0, self.x1 - origin.x0, self.y1 - origin.y0
        )

    def scaled(self, factor: int) -> Region:
        """Return the region scaled by `factor`: each pixel becomes `factor` x `factor` pixels."""
        return Region(factor * self.x0, factor * self.y0, factor * self.x1, factor * self.y1)

    def intersection(self, other: Region) -> Region:
        """Return the intersection; if there is none, an empty region inside this one."""
        x0, y0 = min(max(self.x0, other.x0), self.x1), min(max(self.y0, other.y0), self.y1)
        return Region(x0, y0, max(x0, min(self.x1, other.x1)), max(y0, min(self.y1, other.y1)))

    def union(self, other: Region) -> Region:
        """Return the smallest region that contains both."""
        return Region(
            min(self.x0, other.x0),
            min(self.y0, other.y0),
            max(self.x1, other.x1),
            max(self.y1, other.y1),
        )

    def without(self, other: Region | None) -> list[Region]:
        """Return regions that do not overlap and together are this one without `other`."""
        inner = self.intersection(other) if other is not None else None
        if inner is None or not inner.area:
            return [self] if self.area else []
        parts = (
            Region(self.x0, self.y0, self.x1, inner.y0),
            Region(self.x0, inner.y0, inner.x0, inner.y1),
            Region(inner.x1, inner.y0, self.x1, inner.y1),
            Region(self.x0, inner.y1, self.x1, self.y1),
        )
        return [part for part in parts if part.area]


STRETCH = 0.75
"""Minimum ratio of a region's short to its long side, if the image is large enough."""

SLACK = 2.5
"""A region is kept until it is this many times larger than a newly chosen one."""


def around_points(points: Iterable[tuple[int, int]]) -> Region | None:
    """Return the smallest region that contains all points (x, y); None for no points."""
    listed = list(points)
    if not listed:
        return None
    xs, ys = [x for x, _ in listed], [y for _, y in listed]
    return Region(min(xs), min(ys), max(xs) + 1, max(ys) + 1)


def around(centre: tuple[int, int], wide: float, high: float, width: int, height: int) -> Region:
    """Return a region of `wide` x `high` pixels around a pixel, inside an image."""
    x0, x1 = _span(centre[0] + 0.5, wide, width)
    y0, y1 = _span(centre[1] + 0.5, high, height)
    return Region(x0, y0, x1, y1)


def grown(region: Region, scale: float, width: int, height: int) -> Region:
    """Return a region `scale` times as wide and as high, shifted and clipped to lie in an image."""
    x0, x1 = _span((region.x0 + region.x1) / 2, scale * region.width, width)
    y0, y1 = _span((region.y0 + region.y1) / 2, scale * region.height, height)
    return Region(x0, y0, x1, y1)


def part_around(region: Region, centre: tuple[int, int], share: float) -> Region:
    """Return the part of a region around a pixel with `share` of each of its sides."""
    within = (centre[0] - region.x0, centre[1] - region.y0)
    part = around(within, share * region.width, share * region.height, region.width, region.height)
    return Region(
        part.x0 + region.x0, part.y0 + region.y0, part.x1 + region.x0, part.y1 + region.y0
    )


def first_region(
    width: int, height: int, points: Iterable[tuple[int, int]], max_aspect: float
) -> Region:
    """Return the region without a selection: the whole image, unless it is elongated.

    Args:
        width: of the image, pixels.
        height: of the image, pixels.
        points: clicks, (x, y); all are inside.
        max_aspect: maximum longer / shorter side of the region, unless the clicks need more.
    """
    clicked = around_points(points)
    if clicked is None:
        return Region(0, 0, width, height)
    x0, x1 = _span((clicked.x0 + clicked.x1) / 2, max(clicked.width, max_aspect * height), width)
    y0, y1 = _span((clicked.y0 + clicked.y1) / 2, max(clicked.height, max_aspect * width), height)
    return Region(x0, y0, x1, y1)


def choose_region(
    width: int,
    height: int,
    needed: Region | None,
    present: Region | None,
    expansion: float,
    min_side: int,
) -> Region:
    """Return the region for the next prediction.

    Args:
        width: of the image, pixels.
        height: of the image, pixels.
        needed: region that must be inside: box of the selection and all clicks; None before the
            first prediction.
        present: the region of the last prediction; kept if it still fits, so that guidance maps
            and cut can be updated in place.
        expansion: side of the region / side of `needed`.
        min_side: minimum side, pixels, if the image is large enough.

    Returns:
        A region inside the image.
    """
    whole = Region(0, 0, width, height)
    if needed is None:
        return whole
    long_side = max(needed.width, needed.height) * expansion
    w = max(needed.width * expansion, STRETCH * long_side, min_side)
    h = max(needed.height * expansion, STRETCH * long_side, min_side)
    x0, x1 = _span((needed.x0 + needed.x1) / 2, w, width)
    y0, y1 = _span((needed.y0 + needed.y1) / 2, h, height)
    fresh = Region(x0, y0, x1, y1)
    if fresh.area > 0.8 * whole.area:
        fresh = whole
    if present is not None and present.area <= SLACK * fresh.area:
        margin = 0.5 * (expansion - 1) / 2
        dx, dy = math.ceil(margin * needed.width), math.ceil(margin * needed.height)
        padded = Region(
            max(0, needed.x0 - dx),
            max(0, needed.y0 - dy),
            min(width, needed.x1 + dx),
            min(height, needed.y1 + dy),
        )
        if present.contains(padded):
            return present
    return fresh


def _span(centre: float, side: float, limit: int) -> tuple[int, int]:
    """Return a span of about `side` pixels around `centre`, shifted and clipped to [0, limit)."""
    length = min(limit, math.ceil(side))
    start = min(max(0, round(centre - length / 2)), limit - length)
    return start, start + length
