"""Models with SAM's interface (Kirillov et al., ICCV 2023): an ONNX encoder and an ONNX decoder.

The decoder has the inputs and outputs of the one that the segment-anything repository exports:
`image_embeddings`, `point_coords`, `point_labels`, `mask_input`, `has_mask_input`, `orig_im_size`
-> `masks`, `iou_predictions`, `low_res_masks`. The encoder has one input, (1, 3, S, S) float32, the
image with its longer side brought to S, SAM's normalisation, zeros to the right and below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.errors import BackendError
from clickcut_eval.errors import MethodError

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)
"""SAM's normalisation, grey levels of R, G, B."""

_INPUTS = {
    "image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input",
    "orig_im_size",
}  # fmt: skip
_OUTPUTS = {"masks", "iou_predictions", "low_res_masks"}


class Sam:
    """All clicks so far and the last low-resolution mask go into the decoder with every click.

    Args:
        encoder: ONNX file.
        decoder: ONNX file.
        threads: per prediction; 0 = one per core.

    Raises:
        BackendError: ONNX Runtime is not installed.
        MethodError: the files are not such models.
    """

    max_clicks = 0

    def __init__(self, encoder: Path, decoder: Path, threads: int = 1) -> None:
        self._encoder, self._decoder = _load(encoder, threads), _load(decoder, threads)
        inputs = self._encoder.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or not isinstance(shape[3], int):
            raise MethodError(
                f"{encoder}: a SAM encoder takes one image (1, 3, S, S); this one takes "
                + ", ".join(f"{i.name} {i.shape}" for i in inputs)
            )
        self._input, self._side = inputs[0].name, shape[3]
        found = {i.name: i for i in self._decoder.get_inputs()}
        given = {o.name for o in self._decoder.get_outputs()}
        if set(found) != _INPUTS or not given >= _OUTPUTS:
            listed = [", ".join(sorted(names)) for names in (_INPUTS, _OUTPUTS, found, given)]
            raise MethodError(
                f"{decoder}: a SAM decoder takes {listed[0]} and gives {listed[1]}; "
                f"this one takes {listed[2]} and gives {listed[3]}"
            )
        low = found["mask_input"].shape[2:]
        self._low = tuple(n if isinstance(n, int) else self._side // 4 for n in low)

    def set_image(self, pixels: NDArray[np.uint8]) -> None:
        """See `Method.set_image`."""
        height, width = pixels.shape[:2]
        self._scale = self._side / max(height, width)
        size = max(1, round(width * self._scale)), max(1, round(height * self._scale))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        canvas = np.zeros((self._side, self._side, 3), np.float32)
        canvas[: size[1], : size[0]] = (small - MEAN) / STD
        batch = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None])
        self._embedding = self._encoder.run(None, {self._input: batch})[0]
        self._points: list[tuple[float, float, float]] = []
        self._last = np.zeros((1, 1, *self._low), np.float32)
        self._logits = np.full((height, width), -np.inf, np.float32)

    def add_click(self, x: int, y: int, positive: bool) -> None:
        """See `Method.add_click`."""
        self._points.append(((x + 0.5) * self._scale, (y + 0.5) * self._scale, float(positive)))
        # Without a box a point of label -1 is appended, as SAM's own code does.
        points = np.array([*self._points, (0.0, 0.0, -1.0)], np.float32)
        feed = {
            "image_embeddings": self._embedding,
            "point_coords": points[None, :, :2],
            "point_labels": points[None, :, 2],
            "mask_input": self._last,
            "has_mask_input": np.array([len(self._points) > 1], np.float32),
            "orig_im_size": np.array(self._logits.shape, np.float32),
        }
        names = ["masks", "iou_predictions", "low_res_masks"]
        masks, scores, low = self._decoder.run(names, feed)
        best = int(np.argmax(scores[0]))
        if masks.shape[2:] != self._logits.shape:
            raise MethodError(
                f"the SAM decoder gave masks of shape {masks.shape[2:]} for an image of shape "
                f"{self._logits.shape}"
            )
        self._logits, self._last = masks[0, best], low[:, best : best + 1]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """See `Method.mask`."""
        return np.asarray(self._logits > 0)

    @property
    def probability(self) -> NDArray[np.float32]:
        """See `Method.probability`."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self._logits, -80, 80))), np.float32)


def _load(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError("ONNX Runtime is not installed: pip install 'clickcut[cpu]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise MethodError(f"{path}: not an ONNX model that can be loaded ({error})") from error
