"""Requests of Label Studio, checked: which task, which image, and the prompts of each object."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clickcut.errors import printable
from clickcut_formats.annotation import MAX_PIXELS
from clickcut_formats.reading import image_size, is_number
from clickcut_label_studio.errors import TaskError
from clickcut_label_studio.labelling import TOOLS, Labelling, parse

MAX_PROMPTS = 500
"""Clicks and boxes of one request."""
MAX_TASKS = 10_000


@dataclass(frozen=True, slots=True)
class Click:
    """A click; (0, 0) is the centre of the first pixel.

    Attributes:
        x: in pixels.
        y: in pixels.
        positive: on the object.
    """

    x: float
    y: float
    positive: bool


@dataclass(frozen=True, slots=True)
class Box:
    """A box around the object; (0, 0) is the centre of the first pixel.

    Attributes:
        x0: left edge in pixels.
        y0: upper edge.
        x1: right edge.
        y1: lower edge.
    """

    x0: float
    y0: float
    x1: float
    y1: float


Prompt = Click | Box


@dataclass(frozen=True, slots=True)
class Selection:
    """An object that is being selected.

    Attributes:
        label: of it.
        first: id of its first region; tells apart annotators, and objects one after the other.
        prompts: in the order in which they were made.
    """

    label: str
    first: str
    prompts: tuple[Prompt, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A request for masks.

    Attributes:
        project: of Label Studio.
        task: its id.
        image: what the task's data says where the image is.
        image_name: name of the image's tag.
        item_index: of the image, where a task has a list of them; None where it has one.
        width: of the image as the browser shows it.
        height: of it.
        labelling: the project's configuration.
        selections: the objects.
    """

    project: str
    task: int
    image: object
    image_name: str
    item_index: int | None
    width: int
    height: int
    labelling: Labelling
    selections: tuple[Selection, ...]


@dataclass(frozen=True, slots=True)
class _Region:
    id: str
    label: str
    prompt: Prompt


def labelling_of(document: dict[str, Any], key: str) -> Labelling:
    """The labelling configuration in a request.

    Raises:
        TaskError: there is none, or it cannot be read.
    """
    config = document.get(key)
    if not isinstance(config, str):
        raise TaskError(f"the request has no {key}")
    return parse(config)


def num_tasks(document: dict[str, Any]) -> int:
    """How many tasks a request names.

    Raises:
        TaskError: none, or too many.
    """
    tasks = document.get("tasks")
    if not isinstance(tasks, list) or not 0 < len(tasks) <= MAX_TASKS:
        raise TaskError(f"tasks is not a list of 1 to {MAX_TASKS}")
    return len(tasks)


def regions_of(document: dict[str, Any]) -> list[Any] | None:
    """The clicks and boxes of a request, unchecked; None when it is not about any.

    Raises:
        TaskError: they are no list.
    """
    params = document.get("params")
    context = params.get("context") if isinstance(params, dict) else None
    if context is None:
        return None
    regions = context.get("result") if isinstance(context, dict) else None
    if not isinstance(regions, list):
        raise TaskError("params.context.result is not a list of regions")
    return regions


def request_of(document: dict[str, Any]) -> Request:
    """Check a request that has regions.

    Args:
        document: body of `/predict`, from outside.

    Raises:
        TaskError: what is wrong with it.
    """
    if num_tasks(document) != 1:
        raise TaskError("clicks on several tasks at once cannot be answered")
    task = document["tasks"][0]
    number = task.get("id") if isinstance(task, dict) else None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**63:
        raise TaskError("the task has no id")
    project = str(document.get("project", ""))[:100]
    labelling = labelling_of(document, "label_config")
    regions = regions_of(document) or []
    if len(regions) > MAX_PROMPTS:
        raise TaskError(
            f"{len(regions)} clicks are more than {MAX_PROMPTS}; accept the object, or remove some"
        )
    where = [f"task {number}, region {index}" for index in range(len(regions))]
    for at, region in zip(where, regions, strict=True):
        _check_kind(region, at)
    tool = labelling.prompt_tool({region["from_name"] for region in regions})
    width, height = _size(regions[0], where[0])
    item_index = _item_index(regions, number)
    prompts = [
        _region(region, width, height, at) for at, region in zip(where, regions, strict=True)
    ]
    return Request(
        project=project,
        task=number,
        image=_image(task, labelling, tool.image, item_index),
        image_name=tool.image,
        item_index=item_index,
        width=width,
        height=height,
        labelling=labelling,
        selections=tuple(_selections(prompts)),
    )


def _check_kind(region: object, where: str) -> None:
    kind = region.get("type") if isinstance(region, dict) else None
    if kind not in TOOLS:
        raise TaskError(
            f"{where} is of type {printable(repr(kind), 60)}; this backend answers clicks and "
            "boxes on images, of <KeyPointLabels> and <RectangleLabels>"
        )
    assert isinstance(region, dict)
    if not isinstance(region.get("from_name"), str) or not isinstance(region.get("id"), str):
        raise TaskError(f"{where} has no from_name or no id")


def _size(region: dict[str, Any], where: str) -> tuple[int, int]:
    size = image_size(region.get("original_width"), region.get("original_height"))
    if size is None:
        raise TaskError(f"{where} names no size of an image, or one over {MAX_PIXELS:,} pixels")
    return size


def _item_index(regions: Sequence[dict[str, Any]], task: int) -> int | None:
    found = {region.get("item_index") for region in regions if _is_plain(region.get("item_index"))}
    if len(found) > 1:
        raise TaskError(f"task {task}: clicks on several images at once; accept the object first")
    index = found.pop() if found else None
    if index is not None and (not isinstance(index, int) or not 0 <= index < 100_000):
        raise TaskError(f"task {task}: item_index is not the number of an image")
    return index


def _is_plain(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _image(task: dict[str, Any], labelling: Labelling, name: str, item_index: int | None) -> object:
    tag, data = labelling.images[name], task.get("data")
    # Nested data is written with dots, and Label Studio also takes them as part of a name.
    value = data.get(tag.key) if isinstance(data, dict) else None
    if value is None and isinstance(data, dict):
        value = data
        for part in re.split(r"[.\[\]]+", tag.key):
            value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        raise TaskError(f"task {task['id']} has no image: its data lacks {tag.key!r}")
    if not tag.is_list:
        return value
    index = item_index or 0
    if not isinstance(value, list) or index >= len(value):
        raise TaskError(f"task {task['id']} has no image number {index} in {tag.key!r}")
    return value[index]


def _region(region: dict[str, Any], width: int, height: int, where: str) -> _Region:
    if (region.get("original_width"), region.get("original_height")) != (width, height):
        raise TaskError(f"{where} names another size of the image than the first one")
    if region.get("image_rotation", 0) != 0:
        raise TaskError(f"{where} is on a rotated image; rotate it back before clicking")
    value = region.get("value")
    if not isinstance(value, dict):
        raise TaskError(f"{where} has no value")
    labels = value.get(region["type"])
    label = labels[0] if isinstance(labels, list) and labels else None
    if not isinstance(label, str):
        raise TaskError(f"{where} has no label")
    x, y = (_percent(value, key, where) for key in ("x", "y"))
    if region["type"] == "keypointlabels":
        positive = region.get("is_positive", True) is not False
        prompt: Prompt = Click(_pixel(x, width), _pixel(y, height), positive)
    else:
        if value.get("rotation", 0) != 0:
            raise TaskError(f"{where} is a rotated box, which is not supported")
        x1, y1 = x + _percent(value, "width", where), y + _percent(value, "height", where)
        prompt = Box(_pixel(x, width), _pixel(y, height), _pixel(x1, width), _pixel(y1, height))
    return _Region(region["id"][:200], label, prompt)


def _percent(value: dict[str, Any], key: str, where: str) -> float:
    number: Any = value.get(key)
    if not is_number(number) or not -0.01 <= number <= 100.01:
        raise TaskError(f"{where}: its {key} is not between 0 and 100 percent")
    return float(number)


def _pixel(percent: float, side: int) -> float:
    """Percent of a side -> pixels from the centre of the first one, within the image."""
    return min(max(percent / 100 * side - 0.5, 0.0), side - 1.0)


def _selections(regions: Sequence[_Region]) -> list[Selection]:
    """The regions by label: an object for each.

    A negative click belongs to the object of its label. Where that has nothing else, the annotator
    picked any label: it belongs to the object of the last region before it.
    """
    started = {
        r.label for r in regions if not isinstance(r.prompt, Click) or r.prompt.positive
    }  # fmt: skip
    found: dict[str, list[_Region]] = {}
    last = next((r.label for r in regions if r.label in started), "")
    for region in regions:
        if region.label in started:
            last = region.label
        label = last or region.label
        found.setdefault(label, []).append(region)
    return [
        Selection(label, items[0].id, tuple(item.prompt for item in items))
        for label, items in found.items()
    ]
