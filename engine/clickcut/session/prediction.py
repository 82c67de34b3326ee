"""Predict the logits of a region of one image, from clicks and what is known so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickcut.backends import Predictor
from clickcut.clicks import Point
from clickcut.images import PreparedImage
from clickcut.region import Region
from clickcut.resample import move, resize
from clickcut.session.box_prompt import box_middle, box_probability, box_ring
from clickcut.session.events import Prompts
from clickcut.session.network_input import network_input
from clickcut.session.state import State, Timings, timed

SEEN_ONCE = -1
"""Buffer of what is not looked at again, such as a crop or a window around a click."""


class View(NamedTuple):
    """What the network sees.

    Attributes:
        region: of the image.
        mirrored: the network sees the mirror image; its logits are mirrored back.
    """

    region: Region
    mirrored: bool = False


class RegionPrediction:
    """Predictions on one image.

    Args:
        image: shared between sessions.
        predictor: shared between sessions.
    """

    def __init__(self, image: PreparedImage, predictor: Predictor) -> None:
        self._image = image
        self._predictor = predictor

    def state(
        self,
        state: State,
        region: Region,
        prompts: Prompts,
        timings: Timings,
        buffer: int = 0,
        coarse: bool = False,
    ) -> State:
        """Return a state with the logits of a region, its selection not yet decided.

        Args:
            state: the previous probability follows from it.
            region: what the network sees.
            prompts: in force.
            timings: "maps" and "network" are added to.
            buffer: see `logits`.
            coarse: see `NetworkInput.show`.
        """
        logits = self.logits(state, View(region), prompts, timings, buffer, coarse)
        return State(state.selection, region, logits)

    def averaged(
        self, state: State, further: Sequence[View], prompts: Prompts, timings: Timings
    ) -> State:
        """Return a state with the mean of its logits and those of further views.

        Args:
            state: each view sees the mean so far as the previous probability.
            further: the views.
            prompts: in force.
            timings: "maps" and "network" are added to.
        """
        if state.region is None or state.logits is None:
            return state
        total = state.logits
        shown = [state.region, *(view.region for view in further)]
        for count, view in enumerate(further, 2):
            found = self.logits(state, view, prompts, timings, shown.index(view.region))
            total = total + move(found, view.region, state.region, None)
            state = replace(state, logits=total / np.float32(count))
        return state

    def logits(
        self,
        state: State,
        view: View,
        prompts: Prompts,
        timings: Timings,
        buffer: int = 0,
        coarse: bool = False,
    ) -> NDArray[np.float32]:
        """Return the logits of a view, (S, S) float32; a new array.

        Args:
            state: the previous probability follows from it.
            view: what the network sees.
            prompts: in force.
            timings: "maps" and "network" are added to.
            buffer: number of the input buffer, see `network_input`; views of one region share it.
            coarse: see `NetworkInput.show`.
        """
        with network_input(self._predictor.metadata, buffer) as shown:
            with timed(timings, "maps"):
                positive, negative = self._points(prompts)
                previous = self._previous(state, view.region, prompts)
                shown.show(self._image, view.region, positive, negative, previous, coarse)
            with timed(timings, "network"):
                if view.mirrored:
                    flipped = np.ascontiguousarray(shown.buffer[..., ::-1])
                    return np.ascontiguousarray(self._predictor.predict(flipped)[0, :, ::-1])
                # A copy: a view would keep the output of a whole batch alive.
                logits: NDArray[np.float32] = self._predictor.predict(shown.buffer)[0].copy()
                return logits

    def _points(self, prompts: Prompts) -> tuple[list[Point], list[Point]]:
        """Return the positive and the negative points that the network sees."""
        signs = prompts.points
        positive = [p for p, sign in signs.items() if sign]
        negative = [p for p, sign in signs.items() if not sign]
        if prompts.box is not None:
            ring = box_ring(prompts.box, self._image.width, self._image.height)
            negative += [p for p in ring if p not in signs]
            if not positive:
                positive = [box_middle(prompts.box)]
        return positive, negative

    def _previous(
        self, state: State, region: Region, prompts: Prompts
    ) -> NDArray[np.float32] | None:
        """Return the previous probability over `region`, (S, S) float32; None at the start."""
        size = self._predictor.metadata.input_size
        known = state.object_probability
        if known is not None:
            seen, found = known
            before = move(found, seen, region, outside=0.0)
            if prompts.excluded.box is not None:
                taken = prompts.excluded.inside(region).astype(np.float32)
                before = before * (np.float32(1) - resize(taken, size))
            return before
        if state.selection.box is not None:
            return resize(state.selection.inside(region).astype(np.float32), size)
        if prompts.box is not None:
            return box_probability(prompts.box, region, size)
        return None
