"""Ours: the engine's click session, with and without its graph cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.backends import Predictor
from clickcut.encoding import full_probability
from clickcut.images import prepare_pixels
from clickcut.parameters import Parameters
from clickcut.session import ClickSession


class EngineMethod:
    """A bundle in the engine: what users get.

    The network sees the clicks themselves; the graph cut gets discs of `parameters.seed_radius`.

    Args:
        predictor: the model.
        parameters: of the session; `cut=False` decides by the threshold alone.
        solver: of the cut.
    """

    max_clicks = 0

    def __init__(self, predictor: Predictor, parameters: Parameters, solver: str = "grid") -> None:
        self._predictor, self._parameters, self._solver = predictor, parameters, solver
        self._session: ClickSession | None = None

    def set_image(self, pixels: NDArray[np.uint8]) -> None:
        """See `Method.set_image`."""
        image = prepare_pixels(pixels)
        self._session = ClickSession(image, self._predictor, self._parameters, self._solver)

    def add_click(self, x: int, y: int, positive: bool) -> None:
        """See `Method.add_click`."""
        self._started().click(x, y, positive)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """See `Method.mask`; changes in place with the next click."""
        return self._started().mask

    @property
    def probability(self) -> NDArray[np.float32]:
        """See `Method.probability`: what the network gave, before the cut; 0 outside its region."""
        session = self._started()
        height, width = session.mask.shape
        if session.probability is None:
            return np.zeros((height, width), np.float32)
        return full_probability(*session.probability, height, width)

    def _started(self) -> ClickSession:
        if self._session is None:
            raise RuntimeError("call set_image first")
        return self._session
