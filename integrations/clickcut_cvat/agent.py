"""The agent function: `cvat-cli function run-agent ID --function-module clickcut_cvat.agent`.

Parameters (`-p`): `server=str:HOST:PORT`, `tls=bool:true`, `ca=str:FILE`, `cert=str:FILE`,
`key=str:FILE`, `token_file=str:FILE`, `max_sessions=int:N`, `wait_seconds=float:S`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import cvat_sdk.auto_annotation as cvataa
import numpy as np
from cvat_sdk.masks import encode_mask
from PIL import Image, ImageOps

from clickcut.client import Client
from clickcut.client.waiting import wait_until_serving
from clickcut.errors import ClickcutError
from clickcut_cvat.engine import access_of, connect
from clickcut_cvat.prompts import Prompts
from clickcut_cvat.sessions import MAX_SESSIONS, Interactor

WAIT_SECONDS = 60.0
"""Default of how long to wait for the engine at the start."""


class ClickcutFunction:
    """An interaction function, as the SDK defines it.

    Args:
        client: connection to the engine.
        max_sessions: sessions kept.
    """

    spec = cvataa.InteractionFunctionSpec(min_pos_points=1, min_neg_points=0)

    def __init__(self, client: Client, max_sessions: int = MAX_SESSIONS) -> None:
        self._client = client
        self._interactor = Interactor(client, max_sessions)

    def preprocess_image(
        self, context: cvataa.InteractionFunctionContext, image: Image.Image
    ) -> bytes:
        """Encode an image and send it to the engine, once; the agent keeps the result.

        Raises:
            BadFunctionError: the engine refuses it, or cannot be reached.
        """
        data = _encoded(image)
        try:
            self._client.upload(data)
        except ClickcutError as error:
            raise cvataa.BadFunctionError(str(error)) from error
        return data

    def detect(
        self,
        context: cvataa.InteractionFunctionContext,
        pp_image: bytes,
        prompts: cvataa.InteractionPrompts,
    ) -> Sequence[cvataa.InteractionResultShape]:
        """Return the mask of the object that the clicks select, as one shape.

        Raises:
            BadFunctionError: of all errors, the only one whose message the agent passes on.
        """
        try:
            checked = Prompts.of(prompts.pos_points, prompts.neg_points)
            mask = self._interactor.mask(pp_image, checked)
        except ClickcutError as error:
            raise cvataa.BadFunctionError(str(error)) from error
        return [cvataa.InteractionResultShape(type="mask", points=encode_mask(mask))]


def create(
    server: str = "localhost:50051",
    tls: bool = False,
    ca: str = "",
    max_sessions: int = MAX_SESSIONS,
    wait_seconds: float = WAIT_SECONDS,
    cert: str = "",
    key: str = "",
    token_file: str = "",
) -> ClickcutFunction:
    """Create the function, once the engine is warm.

    Args:
        server: HOST:PORT of the engine.
        tls: use TLS.
        ca: file of CA certificates to trust, PEM; implies TLS.
        max_sessions: sessions kept.
        wait_seconds: for the engine. Later it may still come: until then requests fail, each with
            a message that says so.
        cert: file of a client certificate, PEM, for an engine that asks for one; implies TLS.
        key: file of its private key, PEM.
        token_file: file that holds the token; "" for that of the environment, CLICKCUT_TOKEN.

    Raises:
        EventError: an invalid parameter.
    """
    access = access_of(tls, ca, cert, key, token_file)
    client = connect(server, access)
    try:
        wait_until_serving(client, wait_seconds)
    except ClickcutError as error:
        print(f"clickcut: {error}; requests fail until it can be reached", file=sys.stderr)
    return ClickcutFunction(client, max_sessions)


def _encoded(image: Image.Image) -> bytes:
    """Return an image as a PNG file: as displayed, and with all bits of its samples."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # more than 8 bits: the engine chooses the window
        upright = Image.fromarray(np.clip(np.asarray(upright), 0, 65_535).astype(np.uint16))
    else:
        upright = upright.convert("RGB")
    out = io.BytesIO()
    upright.save(out, "PNG", compress_level=1)
    return out.getvalue()
