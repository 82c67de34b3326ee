"""Find small objects, which the network cannot resolve in the region that it is shown.

In a photograph of 8000 x 6000 pixels an object of 60 pixels is three network pixels long, and the
network selects its surroundings. So if the first output on a large image is uncertain, the network
is applied to windows around the click, smallest first. The output of a window is used only if it is
a small separate object: inside a large object there is no outline, and much of the window is
selected (benchmarks/results/regions.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clickcut.bundle import BundleMetadata
from clickcut.clicks import Point
from clickcut.images import PreparedImage
from clickcut.region import Region, around, around_points
from clickcut.session.correction import Correction
from clickcut.session.events import Prompts
from clickcut.session.prediction import SEEN_ONCE, RegionPrediction
from clickcut.session.state import State, Timings, probability

LARGE = 4.0
"""Minimum image pixels per network pixel, along the longer side, of a large region."""

CLOSEST = 1.3
"""Image pixels per network pixel in the smallest window; each larger one has twice as many."""

HUGE = 32_000_000
"""Pixels from which the smallest window has twice as many: what is seen closer is more often a part
of a large object, and a JPEG would have to be decoded in full for it."""

UNSURE = 0.78
"""An output is uncertain if the mean probability of its selection is below this."""

SMALL = 0.012
"""Maximum fraction of a window that a small object takes."""

ENCLOSED = 0.3
"""Maximum fraction of a window that an object takes that ends before the background clicks."""

CUT_OFF = 0.02
"""Maximum fraction of the window's edges that such an object touches."""

_EVERYTHING = np.ones((1, 1), np.float32)
"""The probability of an output that selects all of its window."""


class CloseLook:
    """Looks for small objects on one image.

    Args:
        image: shared between sessions.
        metadata: of the model.
        prediction: on the image.
    """

    def __init__(
        self, image: PreparedImage, metadata: BundleMetadata, prediction: RegionPrediction
    ) -> None:
        self._width, self._height = image.width, image.height
        self._size = metadata.input_size
        self._policy = metadata.region
        self._prediction = prediction

    def at_click(self, state: State, prompts: Prompts, timings: Timings) -> State:
        """Return the first state, or a better one for a small object in a large image.

        Args:
            state: after the network's first pass.
            prompts: in force.
            timings: added to.
        """
        clicked = [point for point, positive in prompts.points.items() if positive]
        if not (self._policy.zoom and clicked and state.logits is not None):
            return state
        near = windows(self._width, self._height, clicked[-1], self._size, self._policy.max_windows)
        if not near or not is_unsure(probability(state.logits)):
            return state
        for region in near:
            # Most show nothing, so they are not worth decoding the image in full.
            found = self._prediction.state(
                State(), region, prompts, timings, SEEN_ONCE, coarse=True
            )
            if found.logits is not None and shows_small_object(
                probability(found.logits), region, clicked[-1]
            ):
                return found
        return state

    def between_clicks(
        self, state: State, region: Region, prompts: Prompts, timings: Timings
    ) -> State | None:
        """Return a state for an object enclosed by the background clicks; None if there is none.

        Args:
            state: before the last click.
            region: that the network would see of the object otherwise.
            prompts: in force.
            timings: added to.
        """
        policy = self._policy
        narrows = policy.zoom and policy.narrow > 0
        narrows = narrows and prompts.start is None and prompts.box is None
        if not narrows or not prompts.clicks or prompts.clicks[-1].positive:
            return None
        signs = prompts.points
        positive = [point for point, sign in signs.items() if sign]
        negative = [point for point, sign in signs.items() if not sign]
        window = self._bounded(positive, negative)
        if window is None or window.area >= policy.closer_below * region.area:
            return None
        last = set(prompts.clicks[-1].points)
        if window == self._bounded(positive, [point for point in negative if point not in last]):
            return None  # the click tells nothing new about where the object ends
        correction = Correction.of(state.selection, prompts.clicks[-1].points, self._size)
        if correction is None or correction.removes_too_much(_EVERYTHING, window):
            return None  # what lies beyond the window alone is more than the click says
        found = self._prediction.state(State(), window, prompts, timings, SEEN_ONCE)
        if found.logits is None:
            return None
        seen = probability(found.logits)
        whole = shows_whole_object(seen, window, positive, self._width, self._height)
        fits = correction.finds_a_small_part(seen, window)
        return found if whole and fits and not correction.removes_too_much(seen, window) else None

    def _bounded(self, positive: Sequence[Point], negative: Sequence[Point]) -> Region | None:
        policy = self._policy
        return bounded_window(
            self._width, self._height, positive, negative, policy.narrow, policy.min_side
        )


def windows(width: int, height: int, point: Point, size: int, count: int) -> list[Region]:
    """Return the windows around a click, smallest first; none if the image is not large.

    Args:
        width: of the image, pixels.
        height: of the image.
        point: the click.
        size: network pixels along each side.
        count: maximum number.
    """
    whole = max(width, height)
    if whole < LARGE * size:
        return []
    closest = CLOSEST if width * height < HUGE else 2 * CLOSEST
    sides = (math.ceil(closest * size * 2**k) for k in range(count))
    return [around(point, side, side, width, height) for side in sides if side <= whole / 2]


def is_unsure(probability: NDArray[np.float32]) -> bool:
    """Return whether an output, (S, S) float32, is uncertain: the object may be too small."""
    selected = probability[probability > 0.5]
    return selected.size == 0 or float(selected.mean()) < UNSURE


def shows_small_object(probability: NDArray[np.float32], region: Region, point: Point) -> bool:
    """Return whether an output is a small object that contains the click.

    Args:
        probability: (S, S) float32 over `region`.
        region: a window.
        point: the click, (x, y), inside.
    """
    selected = probability > 0.5
    return _holds(selected, region, point) and float(selected.mean()) <= SMALL


def bounded_window(
    width: int,
    height: int,
    positive: Sequence[Point],
    negative: Sequence[Point],
    reach: float,
    min_side: int,
) -> Region | None:
    """Return the window in which an object that ends before the background clicks is looked for.

    Args:
        width: of the image, pixels.
        height: of the image.
        positive: clicks on the object, (x, y).
        negative: clicks on the background.
        reach: distance from the object's clicks to the window's edges, in distances to the nearest
            background click.
        min_side: minimum side, pixels, if the image is large enough.

    Returns:
        None without clicks of both kinds, or if a background click lies amid those on the object.
    """
    clicked = around_points(positive)
    if clicked is None or not negative:
        return None
    nearest = min(
        max(clicked.x0 - x, x - clicked.x1 + 1, clicked.y0 - y, y - clicked.y1 + 1)
        for x, y in negative
    )
    if nearest <= 0:
        return None
    centre = (clicked.x0 + clicked.x1 - 1) // 2, (clicked.y0 + clicked.y1 - 1) // 2
    side = max(min_side, max(clicked.width, clicked.height) + 2 * reach * nearest)
    return around(centre, side, side, width, height)


def shows_whole_object(
    probability: NDArray[np.float32],
    region: Region,
    points: Sequence[Point],
    width: int,
    height: int,
) -> bool:
    """Return whether an output is an object that contains the clicks and ends inside the window.

    Args:
        probability: (S, S) float32 over `region`.
        region: a window.
        points: clicks on the object, (x, y), inside.
        width: of the image, pixels: an object may end where the image does.
        height: of the image.
    """
    selected = probability > 0.5
    edges = []
    if region.x0 > 0:
        edges.append(selected[:, 0])
    if region.x1 < width:
        edges.append(selected[:, -1])
    if region.y0 > 0:
        edges.append(selected[0])
    if region.y1 < height:
        edges.append(selected[-1])
    cut_off = float(np.mean(edges)) if edges else 0.0
    return (
        all(_holds(selected, region, point) for point in points)
        and float(selected.mean()) <= ENCLOSED
        and cut_off <= CUT_OFF
    )


def _holds(selected: NDArray[np.bool_], region: Region, point: Point) -> bool:
    """Return whether a selection, (S, S) bool over `region`, holds a pixel of the region."""
    rows, columns = selected.shape
    column = int((point[0] - region.x0 + 0.5) * columns / region.width)
    row = int((point[1] - region.y0 + 0.5) * rows / region.height)
    return bool(selected[row, column])
