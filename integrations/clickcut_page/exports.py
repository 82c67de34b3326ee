"""Masks from the page -> files of a format: one as it is, several as a ZIP archive."""

from __future__ import annotations

import asyncio
import io
import json
import mimetypes
import zipfile
from typing import Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from clickcut.errors import ClickcutError
from clickcut_formats import FORMATS, Encoded, FormatError, LabelledImage, LabelledObject, encode
from clickcut_formats.reading import image_size
from clickcut_page.images import limited, refusal

MAX_BYTES = 64 * 2**20
MAX_OBJECTS = 10_000
NOTES_HEADER = "x-clickcut-notes"


async def formats(request: Request) -> Response:
    """GET: what can be saved, in the order of the menu."""
    return JSONResponse([{"name": name, "title": kind.title} for name, kind in FORMATS.items()])


async def export(request: Request) -> Response:
    """POST {format, name, width, height, tolerance, objects: [{label, counts}]}: the file.

    `counts` are COCO's compressed run lengths of the whole image. What the format could not hold is
    in the header `x-clickcut-notes`, a JSON list, percent-encoded.
    """
    try:
        body = b"".join([part async for part in limited(request, MAX_BYTES)])
        name, encoded = await asyncio.to_thread(_encode, body)
    except ClickcutError as error:
        return refusal(error)
    except ClientDisconnect:
        return Response(status_code=400)
    if len(encoded.files) == 1:
        [(name, data)] = encoded.files.items()
    else:
        name, data = f"{name}.zip", _zipped(encoded)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(name.rpartition('/')[2])}",
        NOTES_HEADER: quote(json.dumps(encoded.notes)),
    }
    return Response(data, media_type=kind, headers=headers)


def _encode(body: bytes) -> tuple[str, Encoded]:
    document = _document(body)
    image = labelled_image(document)
    if not image.objects:
        raise FormatError("export", ["there is no object to save"])
    tolerance = document.get("tolerance", 0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float):
        raise FormatError("export", ["tolerance is not a number"])
    return image.path_stem, encode(str(document.get("format")), [image], float(tolerance))


def labelled_image(document: dict[str, Any]) -> LabelledImage:
    """The image and objects that a page sent.

    Raises:
        FormatError: something is missing or of another kind.
    """
    name = document.get("name")
    size = image_size(document.get("width"), document.get("height"))
    objects = document.get("objects")
    if not isinstance(name, str) or not 0 < len(name) <= 255 or size is None:
        raise FormatError("export", ["name, width or height of the image are missing or wrong"])
    if not isinstance(objects, list) or len(objects) > MAX_OBJECTS:
        raise FormatError("export", [f"objects is not a list of at most {MAX_OBJECTS}"])
    width, height = size
    found = []
    for index, item in enumerate(objects):
        label = item.get("label") if isinstance(item, dict) else None
        counts = item.get("counts") if isinstance(item, dict) else None
        if not isinstance(label, str) or not isinstance(counts, str):
            raise FormatError("export", [f"objects[{index}] has no label or no counts"])
        found.append(LabelledObject(label, counts.encode("latin-1", "replace"), height, width))
    return LabelledImage(_safe(name), width, height, found)


def _safe(name: str) -> str:
    """The name without folders."""
    plain = name.replace("\\", "/").rpartition("/")[2].strip(". ")
    return plain or "image"


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FormatError("export", [f"not JSON ({error})"]) from error
    if not isinstance(document, dict):
        raise FormatError("export", ["not a JSON object"])
    return document


def _zipped(encoded: Encoded) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in encoded.files.items():
            archive.writestr(name, data)
    return out.getvalue()
