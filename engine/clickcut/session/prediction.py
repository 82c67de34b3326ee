"""Predict the logits of a region of one image, from clicks and what is known so far."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.backends import Predictor
from clickcut.images import PreparedImage
from clickcut.region import Region
from clickcut.resample import move, resize
from clickcut.session.box_prompt import box_middle, box_probability, box_ring
from clickcut.session.events import Prompts
from clickcut.session.network_input import network_input
from clickcut.session.state import State, Timings, probability, timed


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
        coarse: bool = False,
    ) -> State:
        """Return a state with the logits of a region, its selection not yet decided.

        Args:
            state: the previous probability follows from it.
            region: what the network sees.
            prompts: in force.
            timings: "maps" and "network" are added to.
            coarse: see `NetworkInput.show`.
        """
        logits = self.logits(state, region, prompts, timings, coarse=coarse)
        return State(state.selection, region, logits)

    def logits(
        self,
        state: State,
        region: Region,
        prompts: Prompts,
        timings: Timings,
        mirrored: bool = False,
        coarse: bool = False,
    ) -> NDArray[np.float32]:
        """Return the logits of a region, (S, S) float32; a new array.

        Args:
            state: the previous probability follows from it.
            region: what the network sees.
            prompts: in force.
            timings: "maps" and "network" are added to.
            mirrored: the network sees the mirror image; its logits are mirrored back.
            coarse: see `NetworkInput.show`.
        """
        with network_input(self._predictor.metadata) as shown:
            with timed(timings, "maps"):
                signs = prompts.points
                positive = [p for p, sign in signs.items() if sign]
                negative = [p for p, sign in signs.items() if not sign]
                if prompts.box is not None:
                    ring = box_ring(prompts.box, self._image.width, self._image.height)
                    negative += [p for p in ring if p not in signs]
                    if not positive:
                        positive = [box_middle(prompts.box)]
                previous = self._previous(state, region, prompts)
                shown.show(self._image, region, positive, negative, previous, coarse)
            with timed(timings, "network"):
                if mirrored:
                    flipped = np.ascontiguousarray(shown.buffer[..., ::-1])
                    return np.ascontiguousarray(self._predictor.predict(flipped)[0, :, ::-1])
                # A copy: a view would keep the output of a whole batch alive.
                logits: NDArray[np.float32] = self._predictor.predict(shown.buffer)[0].copy()
                return logits

    def _previous(
        self, state: State, region: Region, prompts: Prompts
    ) -> NDArray[np.float32] | None:
        """Return the previous probability over `region`, (S, S) float32; None at the start."""
        size = self._predictor.metadata.input_size
        output = state.output
        if output is not None:
            seen, logits = output
            before = move(probability(logits), seen, region, outside=0.0)
            if prompts.excluded.box is not None:
                taken = prompts.excluded.inside(region).astype(np.float32)
                before = before * (np.float32(1) - resize(taken, size))
            return before
        if state.selection.box is not None:
            return resize(state.selection.inside(region).astype(np.float32), size)
        if prompts.box is not None:
            return box_probability(prompts.box, region, size)
        return None
