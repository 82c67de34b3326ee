"""Repairing an annotation file in the page: a list of its objects, and the file that comes out.

Each repaired object is written at once, so that nothing is lost when the page is closed.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from clickcut.errors import ClickcutError, EventError, ImageError
from clickcut.image_file import examine
from clickcut_formats import FormatError, LabelledImage, LabelledObject, coco, labelme, write
from clickcut_formats.errors import Faults
from clickcut_formats.reading import read_json
from clickcut_page.exports import MAX_BYTES
from clickcut_page.images import limited, refusal


@dataclass(frozen=True, slots=True)
class Task:
    """An object to be repaired.

    Attributes:
        image: it is on.
        path: of the image file.
        item: as the file has it.
        key: what the format's `repaired` calls it.
    """

    image: LabelledImage
    path: Path
    item: LabelledObject
    key: int


class RepairList:
    """The objects of a COCO or labelme file, and what has become of them.

    Args:
        source: the file.
        images: folder of its images.
        out: where to write.
        overwrite: whether `out` may exist.

    Raises:
        FormatError: names every fault of the file, every image that is not there or of another
            size, or an `out` that exists.
    """

    def __init__(self, source: Path, images: Path, out: Path, overwrite: bool) -> None:
        self._document = read_json(source)
        self._is_coco = coco.is_coco(self._document)
        if not self._is_coco and not labelme.is_labelme(self._document):
            raise FormatError(str(source), ["neither a COCO nor a labelme file"])
        found = (coco if self._is_coco else labelme).parse(self._document, str(source))
        if out.exists() and not overwrite:
            raise FormatError(str(out), ["exists already; name another --out, or --overwrite it"])
        self._out = out
        self._masks: dict[int, LabelledObject] = {}
        self._writing = asyncio.Lock()
        paths = _paths(found, images, str(source))
        self.tasks = [
            Task(image, paths[image.name], item, self._key(item))
            for image in found
            for item in image.objects
        ]
        if not self.tasks:
            raise FormatError(str(source), ["there is no object to repair"])

    def _key(self, item: LabelledObject) -> int:
        if not self._is_coco:
            return item.id or 0
        annotations = self._document["annotations"]
        return next(n for n, entry in enumerate(annotations) if entry.get("id") == item.id)

    @property
    def out(self) -> Path:
        """Where the repaired file is written."""
        return self._out

    def routes(self) -> list[Route]:
        """Endpoints for the page."""
        return [
            Route("/repair", self._list),
            Route("/repair/{number:int}", self._task),
            Route("/repair/{number:int}", self._save, methods=["POST"]),
            Route("/repair/{number:int}/image", self._image),
        ]

    async def _list(self, request: Request) -> Response:
        tasks = [
            {"label": task.item.label, "image": task.image.name, "done": task.key in self._masks}
            for task in self.tasks
        ]
        return JSONResponse({"out": self._out.name, "tasks": tasks})

    async def _task(self, request: Request) -> Response:
        task = self._of(request)
        if task is None:
            return Response(status_code=404)
        item = self._masks.get(task.key, task.item)
        size = {"width": item.width, "height": item.height}
        return JSONResponse({"counts": item.counts.decode("ascii"), **size})

    async def _image(self, request: Request) -> Response:
        task = self._of(request)
        return FileResponse(task.path) if task else Response(status_code=404)

    async def _save(self, request: Request) -> Response:
        task = self._of(request)
        if task is None:
            return Response(status_code=404)
        try:
            body = b"".join([part async for part in limited(request, MAX_BYTES)])
            item = _repaired(task, body)
            async with self._writing:
                masks = self._masks | {task.key: item}
                await asyncio.to_thread(self._write, masks)
                self._masks = masks
        except ClickcutError as error:
            return refusal(error)
        except ClientDisconnect:
            return Response(status_code=400)
        return JSONResponse({"saved": self._out.name})

    def _write(self, masks: dict[int, LabelledObject]) -> None:
        repaired = coco.repaired if self._is_coco else labelme.repaired
        data = repaired(self._document, masks)
        write({self._out.name: data}, self._out.parent, overwrite=True)

    def _of(self, request: Request) -> Task | None:
        number: int = request.path_params["number"]
        return self.tasks[number] if number < len(self.tasks) else None


def _paths(images: list[LabelledImage], folder: Path, source: str) -> dict[str, Path]:
    """Where each image is; its size is that of the file."""
    faults = Faults(source)
    paths = {}
    for image in images:
        path = (folder / image.name).resolve()
        try:
            if folder.resolve() not in path.parents:
                raise ImageError(f"is not below {folder}; name its folder with --images")
            parts = examine(path.read_bytes())
            shown = {(parts.width, parts.height), (parts.height, parts.width)}  # turned by EXIF
            if (image.width, image.height) not in shown:
                raise ImageError(
                    f"the file says {image.width} x {image.height}, the image is {parts.width} x "
                    f"{parts.height}"
                )
        except OSError as error:
            faults.add(image.name, f"cannot be read in {folder} ({error.strerror})")
        except ImageError as error:
            faults.add(image.name, str(error))
        paths[image.name] = path
    faults.check()
    return paths


def _repaired(task: Task, body: bytes) -> LabelledObject:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FormatError("repair", [f"not JSON ({error})"]) from error
    counts = document.get("counts") if isinstance(document, dict) else None
    if not isinstance(counts, str):
        raise FormatError("repair", ["counts are missing"])
    before = task.item
    data = counts.encode("latin-1", "replace")
    item = LabelledObject(before.label, data, before.height, before.width, before.id)
    item.check()
    if not item.area:
        raise EventError("nothing is selected; an object cannot be empty")
    return item
