"""A predictor in the shape of Segment Anything's `SamPredictor`, for code that calls one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from clickcut.api.protocols import Session
from clickcut.errors import EventError, ImageError

if TYPE_CHECKING:
    from clickcut.client import Client

LOW_RES = 256
"""Side of the low-resolution logits, as in Segment Anything."""

_MAX_LOGIT = 20.0
"""Logits are limited to this; outside of what the network saw they are minus this."""


@dataclass(frozen=True, slots=True)
class _Prompts:
    """What a mask was computed from."""

    points: tuple[tuple[float, float, bool], ...] = ()
    box: tuple[float, float, float, float] | None = None
    initial: bytes | None = None


class SamPredictor:
    """Select objects in an image by points, a box or a mask.

    Points that extend those of the last call continue from its result, like clicks of a session:
    the network sees its previous output, and only the new points cost time.

    Args:
        model: a name from `clickcut models`, or the path of a bundle; "" for the default.
        client: computes on its server; None: in this process.

    Attributes:
        original_size: (height, width) of the image; None without one.
    """

    mask_threshold = 0.0

    def __init__(self, model: str = "", *, client: Client | None = None) -> None:
        self._model = model
        self._client = client
        self.original_size: tuple[int, int] | None = None
        self._open: Callable[[], Session] | None = None
        self._session: Session | None = None
        self._last = _Prompts()
        self._low_res: NDArray[np.float32] | None = None

    @property
    def is_image_set(self) -> bool:
        """Whether `predict` can be called."""
        return self._open is not None

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Set the image.

        Args:
            image: (H, W, 3) uint8.
            image_format: "RGB" or "BGR".

        Raises:
            ImageError: another shape, dtype or format.
        """
        if image_format not in ("RGB", "BGR"):
            raise ImageError(f'image_format must be "RGB" or "BGR", got {image_format!r}')
        pixels = np.asarray(image)
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise ImageError(
                f"expected an (H, W, 3) uint8 array, got shape {pixels.shape}, dtype {pixels.dtype}"
            )
        self.reset_image()
        ordered = np.ascontiguousarray(pixels if image_format == "RGB" else pixels[..., ::-1])
        opener = self._opener(ordered)
        self._session = opener()
        self._open = opener
        self.original_size = pixels.shape[0], pixels.shape[1]

    def reset_image(self) -> None:
        """Forget the image and everything computed for it."""
        session, self._session = self._session, None
        self._open, self.original_size = None, None
        self._last, self._low_res = _Prompts(), None
        if session is not None:
            session.close()

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[NDArray[np.bool_] | NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return the mask for the given prompts.

        Args:
            point_coords: (N, 2), x and y in pixels of the image.
            point_labels: (N,): 1 object, 0 background, -1 not a point.
            box: (4,), x0, y0, x1, y1.
            mask_input: (1, 256, 256) logits of an earlier call, to start from.
            multimask_output: accepted for compatibility; there is always one mask.
            return_logits: logits of the network, without the graph cut, in place of the mask.

        Returns:
            masks: (1, H, W) bool, or float32 logits.
            scores: (1,) float32, the IoU to be expected if the network's probabilities are right.
            low_res: (1, 256, 256) float32 logits; the longer side of the image fills 256, the
                rest is below it or to its right.

        Raises:
            EventError: no image is set, no prompt, or one of a wrong form or outside the image.
        """
        if self._open is None or self.original_size is None:
            raise EventError("no image is set; call set_image first")
        prompts, initial = self._prompts(point_coords, point_labels, box, mask_input)
        session = self._continued(prompts, initial)
        mask, probability = session.mask, session.probability()
        logits = _logits(probability)
        self._low_res = _to_low_res(logits)[None]
        union = mask.sum() + probability[~mask].sum()
        score = float(probability[mask].sum() / union) if union else 0.0
        result = logits[None] if return_logits else mask[None].copy()
        return result, np.array([score], np.float32), self._low_res.copy()

    # ---- prompts

    def _prompts(
        self,
        point_coords: ArrayLike | None,
        point_labels: ArrayLike | None,
        box: ArrayLike | None,
        mask_input: ArrayLike | None,
    ) -> tuple[_Prompts, NDArray[np.bool_] | None]:
        low_res = None if mask_input is None else _low_res_of(mask_input)
        key = None if low_res is None else low_res.tobytes()
        corners = None if box is None else _corners(box)
        prompts = _Prompts(_points(point_coords, point_labels), corners, key)
        if prompts == _Prompts():
            raise EventError("give points, a box or a mask to start from")
        if low_res is None or self.original_size is None:
            return prompts, None
        if self._low_res is not None and np.array_equal(low_res, self._low_res[0]):
            onward = replace(prompts, initial=self._last.initial)
            if self._extends(onward):  # a session continues from its last result anyway
                return onward, None
        return prompts, _from_low_res(low_res, self.original_size)

    def _extends(self, prompts: _Prompts) -> bool:
        last = self._last
        same = (prompts.box, prompts.initial) == (last.box, last.initial)
        return same and prompts.points[: len(last.points)] == last.points

    def _continued(self, prompts: _Prompts, initial: NDArray[np.bool_] | None) -> Session:
        """Return the session after all prompts: the present one, extended, or a new one."""
        session, done = self._session, len(self._last.points)
        self._session = None  # until all is applied, so that an error halfway leaves no session
        if session is None or not self._extends(prompts):
            if session is not None:
                session.close()
            session, done = self._start(prompts, initial), 0
        try:
            for x, y, positive in prompts.points[done:]:
                session.click(x, y, positive)
        except BaseException:
            session.close()
            self._last, self._low_res = _Prompts(), None
            raise
        self._session, self._last = session, prompts
        return session

    def _start(self, prompts: _Prompts, initial: NDArray[np.bool_] | None) -> Session:
        opener = self._open
        if opener is None:
            raise EventError("no image is set; call set_image first")
        self._last, self._low_res = _Prompts(), None
        session = opener()
        try:
            if initial is not None:
                session.start_from(initial)
            if prompts.box is not None:
                session.box(*prompts.box)
        except BaseException:
            session.close()
            raise
        return session

    def _opener(self, pixels: NDArray[np.uint8]) -> Callable[[], Session]:
        client = self._client
        if client is not None:
            from clickcut.client.picture import Picture

            data, model = Picture.of(pixels).data, self._model
            return lambda: client.open(data, model=model)
        from clickcut.api.local_session import LocalSession
        from clickcut.api.opening import predictor_of
        from clickcut.images import prepare_pixels
        from clickcut.session import ClickSession

        predictor = predictor_of(self._model)
        prepared = prepare_pixels(pixels)
        return lambda: LocalSession(ClickSession(prepared, predictor), predictor)


def _points(
    point_coords: ArrayLike | None, point_labels: ArrayLike | None
) -> tuple[tuple[float, float, bool], ...]:
    if point_coords is None and point_labels is None:
        return ()
    if point_coords is None or point_labels is None:
        raise EventError("give both point_coords and point_labels, or neither")
    coords, labels = np.asarray(point_coords), np.asarray(point_labels)
    if coords.size == 0 and labels.size == 0:
        return ()
    if coords.ndim != 2 or coords.shape[1] != 2 or coords.dtype.kind not in "iuf":
        raise EventError(f"point_coords is an (N, 2) array of numbers, got shape {coords.shape}")
    if labels.shape != (len(coords),):
        raise EventError(
            f"point_labels has a label for each of {len(coords)} points, got shape {labels.shape}"
        )
    if not np.isin(labels, (-1, 0, 1)).all():
        raise EventError("point_labels are 1 (object), 0 (background) or -1 (not a point)")
    pairs = zip(coords.tolist(), labels.tolist(), strict=True)
    return tuple((float(x), float(y), label == 1) for (x, y), label in pairs if label != -1)


def _corners(box: ArrayLike) -> tuple[float, float, float, float]:
    array = np.asarray(box)
    if array.size != 4 or array.dtype.kind not in "iuf":
        raise EventError(f"a box is four numbers x0, y0, x1, y1; got shape {array.shape}")
    x0, y0, x1, y1 = array.ravel().tolist()
    return float(x0), float(y0), float(x1), float(y1)


# ---- logits


def _logits(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore"):
        logits = np.log(probability) - np.log1p(-probability)
    return np.asarray(np.clip(logits, -_MAX_LOGIT, _MAX_LOGIT), np.float32)


def _low_res_size(height: int, width: int) -> tuple[int, int]:
    """Return rows and columns that an image fills of the low-resolution square."""
    scale = LOW_RES / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _to_low_res(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = _low_res_size(*logits.shape)
    out = np.full((LOW_RES, LOW_RES), -_MAX_LOGIT, np.float32)
    smaller = rows < logits.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    out[:rows, :columns] = cv2.resize(logits, (columns, rows), interpolation=how)
    return out


def _from_low_res(low_res: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = size
    rows, columns = _low_res_size(height, width)
    inside = np.ascontiguousarray(low_res[:rows, :columns])
    full = cv2.resize(inside, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full > 0, np.bool_)


def _low_res_of(mask_input: ArrayLike) -> NDArray[np.float32]:
    array = np.asarray(mask_input)
    if array.shape[-2:] != (LOW_RES, LOW_RES) or array.size != LOW_RES**2:
        raise EventError(
            f"mask_input is (1, {LOW_RES}, {LOW_RES}) logits of an earlier call, got shape "
            f"{array.shape}"
        )
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise EventError("mask_input must hold finite numbers")
    return array.reshape(LOW_RES, LOW_RES).astype(np.float32)
