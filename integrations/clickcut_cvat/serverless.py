"""The serverless function for nuclio: `init_context` and `handler`.

`clickcut cvat FOLDER` writes the files that nuclio deploys. Settings are environment variables:
`CLICKCUT_SERVER` (HOST:PORT), `CLICKCUT_TLS` (1), `CLICKCUT_CA` (FILE), `CLICKCUT_MAX_SESSIONS`.

CVAT passes a reply on to the browser as it is. Of a failure it passes on the status only, so that
the message is logged as well.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from clickcut.client.waiting import wait_until_serving
from clickcut.errors import (
    BusyError,
    ClickcutError,
    EventError,
    ImageError,
    LimitError,
    StalledError,
    UnavailableError,
)
from clickcut.selection import bounding_box
from clickcut_cvat.engine import access_of, connect
from clickcut_cvat.prompts import Prompts
from clickcut_cvat.sessions import MAX_SESSIONS, Interactor, Mask

WAIT_SECONDS = 30.0
"""How long `init_context` waits for the engine."""

MAX_IMAGE_BYTES = 64 * 2**20
"""Maximum size of an image file; the trigger's `maxRequestBodySize` is a third larger."""

_STATUS: tuple[tuple[type[ClickcutError], int], ...] = (
    (BusyError, 503),
    (UnavailableError, 503),
    (StalledError, 504),
    (LimitError, 413),
    (EventError, 400),
    (ImageError, 400),
    (ClickcutError, 500),
)
"""HTTP status of an error: that of the first class that matches."""


def init_context(context: Any) -> None:
    """Connect to the engine; wait until it is warm.

    Args:
        context: of nuclio.

    Raises:
        EventError: an invalid setting.
    """
    server = os.environ.get("CLICKCUT_SERVER", "localhost:50051")
    tls, ca = os.environ.get("CLICKCUT_TLS", "") == "1", os.environ.get("CLICKCUT_CA", "")
    client = connect(server, access_of(tls, ca))
    context.user_data.interactor = Interactor(client, _max_sessions())
    try:
        wait_until_serving(client, WAIT_SECONDS)
        context.logger.info(f"clickcut: the engine at {server} is ready")
    except ClickcutError as error:  # it may come later; until then every request says so
        context.logger.error(f"clickcut: {error}")


def handler(context: Any, event: Any) -> Any:
    """Answer a request.

    Args:
        context: of nuclio, after `init_context`.
        event: with a body as CVAT sends it: `image` (base64), `pos_points`, `neg_points`.

    Returns:
        A response with `mask`, rows of 0 and 1 inside of `bounds`, [left, top, right, bottom] with
        both ends included; or a failure with a message in one line.
    """
    try:
        image, prompts = _request(event.body)
        mask = context.user_data.interactor.mask(image, prompts)
    except ClickcutError as error:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        context.logger.warn(f"clickcut: {status}: {error}")
        return context.Response(
            body=str(error), headers={}, content_type="text/plain", status_code=status
        )
    return context.Response(
        body=json.dumps(_reply(mask), separators=(",", ":")),
        headers={},
        content_type="application/json",
        status_code=200,
    )


def _max_sessions() -> int:
    text = os.environ.get("CLICKCUT_MAX_SESSIONS", str(MAX_SESSIONS))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:6]) <= 1000):
        raise EventError(f"CLICKCUT_MAX_SESSIONS must be 1 to 1000, got {text!r}")
    return int(text)


def _request(body: object) -> tuple[bytes, Prompts]:
    """Return image file and prompts of a request.

    Raises:
        EventError: not such a request.
        ImageError: the image is not base64.
        LimitError: the image is too large.
    """
    if isinstance(body, bytes | str):  # sent with another content type
        try:
            body = json.loads(body)
        except ValueError as error:
            raise EventError(f"the request is not JSON ({error})") from error
    if not isinstance(body, Mapping):
        raise EventError("the request must be an object with image, pos_points and neg_points")
    if body.get("obj_bbox"):
        raise EventError("boxes are not supported: remove startswith_box from function.yaml")
    prompts = Prompts.of(body.get("pos_points"), body.get("neg_points"))
    return _image(body.get("image")), prompts


def _image(text: object) -> bytes:
    if not isinstance(text, str):
        raise ImageError("image must be a file encoded as base64")
    if len(text) // 4 * 3 > MAX_IMAGE_BYTES:
        raise LimitError(f"the image file has more than {MAX_IMAGE_BYTES:,} bytes; scale it down")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"the image is not valid base64 ({error})") from error


def _reply(mask: Mask) -> dict[str, object]:
    """Return a mask as CVAT takes it, cut to its bounds: a whole one of 12 MP has 24 MB."""
    box = bounding_box(mask)
    if box is None:
        return {"mask": [[0]], "bounds": [0, 0, 0, 0]}
    rows = mask[box.slices].astype(np.uint8).tolist()
    return {"mask": rows, "bounds": [box.x0, box.y0, box.x1 - 1, box.y1 - 1]}
