"""The pipeline of a click, as a pure function: maps -> region -> network -> cut.

`Pipeline.after` computes the state that follows an event. The result depends on its arguments
alone, never on what was computed before; buffers and the warm cut only make it fast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from clickcut.backends import Predictor
from clickcut.cut import EdgePyramid, RegionCut
from clickcut.images import PreparedImage
from clickcut.parameters import Parameters
from clickcut.region import Region, around_points, choose_region, first_region, grown
from clickcut.selection import Selection
from clickcut.session.box_prompt import BOX_PASSES
from clickcut.session.close_look import CloseLook
from clickcut.session.events import (
    BoxPrompt,
    Click,
    Event,
    InitialMask,
    MoveClick,
    Prompts,
    RemoveClick,
    Reset,
)
from clickcut.session.prediction import SEEN_ONCE, RegionPrediction, View
from clickcut.session.refinement import Refinement, blended, crop_around, depth_of
from clickcut.session.state import Computed, State, Timings, timed

MAX_REPLAYED = 20
"""Maximum number of clicks that are made again when one is moved or removed. Of more, the earliest
are made together."""


class Pipeline:
    """Computes states for one session. Not thread-safe.

    Args:
        image: shared between sessions.
        predictor: shared between sessions.
        solver: of the graph cut, one of `clickcut.cut.SOLVERS`.
    """

    def __init__(self, image: PreparedImage, predictor: Predictor, solver: str) -> None:
        self._image = image
        self._predictor = predictor
        self._prediction = RegionPrediction(image, predictor)
        self._close_look = CloseLook(image, predictor.metadata, self._prediction)
        self._solver = solver
        self._sigma = 0.0
        self._edges: EdgePyramid = image.pyramid
        self._cut = RegionCut(self._edges, solver)

    @property
    def nbytes(self) -> int:
        """Memory in bytes, without the image."""
        own_edges = 0 if self._edges is self._image.pyramid else self._edges.weight_bytes
        return self._cut.nbytes + own_edges

    def reset(self) -> None:
        """Discard the warm cut; nothing else depends on the past."""
        self._cut.reset()

    def cool(self) -> None:
        """Free the memory of the warm cut; the next cut starts cold."""
        self._cut = RegionCut(self._edges, self._solver)

    def after(
        self,
        state: State,
        events: Sequence[Event],
        event: Event,
        parameters: Parameters,
        known: tuple[int, State] = (0, State()),
    ) -> Computed:
        """Return the state after an event.

        After a click was moved or removed, or a box drawn, the state is as if the box had been
        drawn first and the clicks in force had been made one after the other (see `MAX_REPLAYED`),
        with the current parameters.

        Args:
            state: before it.
            events: all events in force before it.
            event: the new one.
            parameters: in force, a `SetParameters` event included.
            known: for `BoxPrompt`, `MoveClick` and `RemoveClick`: a number of clicks
                then in force, and the state after them; 0 if none is known.

        Raises:
            EventError: it moves or removes a click that does not exist, or moves a stroke.
            CutError: the network gave values that are not finite.
        """
        prompts = Prompts.of([*events, event])
        timings: Timings = {}
        if isinstance(event, Reset | InitialMask):
            state = self._start(prompts)
        elif isinstance(event, Click):
            state = self._click_and_look(state, prompts, parameters, timings)
        elif isinstance(event, BoxPrompt | MoveClick | RemoveClick):
            state = self._replay(prompts, parameters, known, timings)
        else:
            state = self._decide(state, prompts, parameters, timings)
        return Computed(state, timings)

    def decide(self, state: State, prompts: Prompts, parameters: Parameters) -> Computed:
        """Return the state with its mask recomputed from its logits.

        Args:
            state: its selection is not used.
            prompts: in force.
            parameters: of the decision.
        """
        timings: Timings = {}
        return Computed(self._decide(state, prompts, parameters, timings), timings)

    def _start(self, prompts: Prompts) -> State:
        """Return the state before the first click."""
        if prompts.start is None:
            return State()
        shape = self._image.height, self._image.width
        bits = np.unpackbits(prompts.start.packed, count=shape[0] * shape[1])
        started = Selection.of(bits.reshape(shape).view(np.bool_))
        return State(started.without(prompts.excluded))

    def _replay(
        self,
        prompts: Prompts,
        parameters: Parameters,
        known: tuple[int, State],
        timings: Timings,
    ) -> State:
        """Return the state after all prompts, one after the other."""
        count = len(prompts.clicks)
        made, state = known
        if not made:
            made, state = max(0, count - MAX_REPLAYED), self._start(prompts)
            for _ in range(BOX_PASSES if prompts.box is not None else 0):
                state = self._click_and_look(
                    state, replace(prompts, clicks=()), parameters, timings
                )
        for end in range(made + 1, count + 1):
            so_far = replace(prompts, clicks=prompts.clicks[:end])
            state = self._click_and_look(state, so_far, parameters, timings)
        return state

    def _click_and_look(
        self, state: State, prompts: Prompts, parameters: Parameters, timings: Timings
    ) -> State:
        """Return the state after the last of the prompts.

        If the selection needs a much smaller region than the present one, the network runs again
        on the smaller one (see `RegionPolicy`).
        """
        policy = self._predictor.metadata.region
        before, region = state.selection, self._region(state, prompts, state.region)
        begins = state.region is None and state.selection.box is None and prompts.box is None
        window = (
            None if begins else self._close_look.between_clicks(state, region, prompts, timings)
        )
        improved = False
        for look in range(policy.max_looks):
            if look == 0 and window is not None:
                state = window
            else:
                state = self._prediction.state(state, region, prompts, timings)
            if look == 0 and begins:
                state = self._close_look.at_click(state, prompts, timings)
            # After a window, or the first click's first look, a closer look often follows.
            improved = look > 0 or not (begins or window is not None)
            if improved:
                state = self._improve(state, before, prompts, timings)
            state = self._decide(state, prompts, parameters, timings)
            if look + 1 == policy.max_looks or state.selection.box is None:
                break
            region = self._region(state, prompts, None)
            seen = state.region or region
            if region.area >= policy.closer_below * seen.area:
                break
        better = state if improved else self._improve(state, before, prompts, timings)
        return state if better is state else self._decide(better, prompts, parameters, timings)

    def _improve(
        self, state: State, before: Selection, prompts: Prompts, timings: Timings
    ) -> State:
        """Return the state with better logits, or the same if that is not worth the time.

        Args:
            state: after a prediction for the last click.
            before: the selection that the click corrects.
            prompts: in force.
            timings: added to.
        """
        policy, region = self._predictor.metadata.region, state.region
        if not prompts.clicks or region is None:
            return state
        further = self._further_views(before, region, prompts)
        state = self._prediction.averaged(state, further, prompts, timings)
        refines = policy.refine > 0 and len(prompts.clicks) >= policy.refine_from
        crop = crop_around(prompts.clicks[-1].points, region, policy) if refines else None
        if crop is not None and self._is_deep(before, region, prompts, policy.refine_depth):
            logits = self._prediction.logits(state, View(crop), prompts, timings, SEEN_ONCE)
            state = replace(state, refinement=Refinement.of(crop, logits))
        return state

    def _further_views(self, before: Selection, region: Region, prompts: Prompts) -> list[View]:
        """Return the views whose logits are averaged with those of a region.

        Args:
            before: the selection that the last click corrects.
            region: that the network sees.
            prompts: in force.
        """
        policy, count = self._predictor.metadata.region, len(prompts.clicks)
        averages = policy.mirror and count >= policy.mirror_from
        if not averages or not self._is_deep(before, region, prompts, policy.mirror_depth):
            return []
        regions = [
            grown(region, scale, self._image.width, self._image.height)
            for scale in policy.mirror_views
        ]
        return [
            View(view, mirrored=index % 2 == 0)
            for index, view in enumerate(regions)
            if index == 0 or view != region
        ]

    def _is_deep(self, before: Selection, region: Region, prompts: Prompts, least: float) -> bool:
        """Return whether the last click is at least this deep (see `depth_of`)."""
        size = self._predictor.metadata.input_size
        return least <= 0 or depth_of(before, region, prompts.clicks[-1].points, size) >= least

    def _decide(
        self, state: State, prompts: Prompts, parameters: Parameters, timings: Timings
    ) -> State:
        if state.region is None or state.logits is None:
            return self._start(prompts)
        region = state.region
        with timed(timings, "cut"):
            logits = blended(state.logits, region, state.refinement, fine=True)
            if parameters.threshold != 0.5:
                logits = logits - np.float32(
                    math.log(parameters.threshold / (1 - parameters.threshold))
                )
            if parameters.cut:
                self._use_sigma(parameters.cut_sigma)
                seeds = [(x, y, 1 if p else -1) for (x, y), p in prompts.points.items()]
                mask = self._cut.solve(
                    logits,
                    region,
                    np.array(seeds, np.int32).reshape(-1, 3),
                    parameters.cut_lambda,
                    parameters.seed_radius,
                )
            else:
                shape = region.width, region.height
                mask = cv2.resize(logits, shape, interpolation=cv2.INTER_LINEAR) > 0
            if prompts.excluded.box is not None:
                mask &= ~prompts.excluded.inside(region)
            return replace(state, selection=Selection.of(mask, region.x0, region.y0))

    def _region(self, state: State, prompts: Prompts, present: Region | None) -> Region:
        """Return the region of the next prediction.

        Args:
            state: whose selection it follows.
            prompts: in force.
            present: kept if it still fits; None: always a new one.
        """
        policy = self._predictor.metadata.region
        width, height = self._image.width, self._image.height
        if not policy.zoom:
            return Region(0, 0, width, height)
        signs = prompts.points
        held = [p for p, positive in signs.items() if positive or policy.hold_negative]
        boxes = [b for b in (state.selection.box, prompts.box) if b is not None]
        if not boxes:
            return first_region(width, height, held or signs, policy.max_aspect)
        clicked = around_points(held)
        needed = boxes[0].union(boxes[-1])
        needed = needed if clicked is None else needed.union(clicked)
        return choose_region(width, height, needed, present, policy.expansion, policy.min_side)

    def _use_sigma(self, sigma: float) -> None:
        if sigma != self._sigma:
            shared = self._image.pyramid
            self._edges = shared.with_sigma(sigma) if sigma else shared
            self._cut = RegionCut(self._edges, self._solver)
            self._sigma = sigma
