"""Open a session in this process: find and load the model, decode the image."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from clickcut.api.local_session import LocalSession
from clickcut.backends import Predictor, load_predictor
from clickcut.bundle.repository import find_models
from clickcut.checks import text_of
from clickcut.client.picture import ImageSource, Picture, WindowLike, window_from
from clickcut.images import PreparedImage, prepare, prepare_pixels
from clickcut.parameters import Parameters, checked_values
from clickcut.session import ClickSession


def open(  # the name that users guess
    image: ImageSource,
    *,
    model: str = "",
    parameters: Mapping[str, float | bool] | None = None,
    window: WindowLike | None = None,
) -> LocalSession:
    """Open a session on an image, in this process. The first one compiles kernels.

    Args:
        image: path, file content, or (H, W, 3) uint8 RGB.
        model: a name from `clickcut models`, or the path of a bundle; "" for the default.
        parameters: by name, to override the defaults of the model.
        window: sample values of the file, low and high, that become 0 and 255; None: see
            `clickcut.image_file.decode`.

    Raises:
        ImageError: the image cannot be used.
        EventError: bad parameters.
        BundleError: there is no such model, or it cannot be used.
        BackendError: the model's back-end is not installed.
    """
    predictor = predictor_of(model)
    chosen = chosen_parameters(predictor, parameters)
    began = time.perf_counter()
    prepared = prepared_image(image, window)
    decode = 1e3 * (time.perf_counter() - began)
    return LocalSession(ClickSession(prepared, predictor, chosen), predictor, decode)


def prepared_image(image: ImageSource, window: WindowLike | None = None) -> PreparedImage:
    """Decode an image, unless it is pixels already.

    Raises:
        ImageError: it cannot be used.
    """
    if isinstance(image, np.ndarray) and window is None:
        return prepare_pixels(image)
    ends = None if window is None else window_from(window)
    return prepare(Picture.of(image).data, window=ends)


def predictor_of(model: str) -> Predictor:
    """Return the model with a name or path, loaded once until its file changes.

    Raises:
        BundleError: there is none, or it cannot be used.
        BackendError: its back-end is not installed.
    """
    (path,) = find_models([model] if text_of(model, "model") else [])[:1]
    status = path.stat()
    return _loaded(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _loaded(path: Path, changed: int, size: int) -> Predictor:
    return load_predictor(path)


def chosen_parameters(
    predictor: Predictor, values: Mapping[str, float | bool] | None
) -> Parameters:
    """Return the model's default parameters with some replaced.

    Raises:
        EventError: an unknown name, a value of a wrong type, or out of range.
    """
    return predictor.metadata.parameters.changed(**checked_values(values))
