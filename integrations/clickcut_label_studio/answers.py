"""Masks -> regions that Label Studio shows."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut_formats.annotation import LabelledObject
from clickcut_formats.label_studio import brush_region, polygon_regions
from clickcut_label_studio.labelling import ANSWERS
from clickcut_label_studio.prompts import Request, Selection
from clickcut_label_studio.settings import BackendSettings


def regions(
    request: Request, selection: Selection, mask: NDArray[np.bool_], settings: BackendSettings
) -> list[dict[str, Any]]:
    """The answer for an object: one brush region, or a polygon region for each of its parts.

    Args:
        request: that it answers.
        selection: the object.
        mask: (H, W) bool, of the image as displayed.
        settings: shape and tolerance.

    Returns:
        Empty for an empty mask. The ids stay the same while the object grows.

    Raises:
        TaskError: the labelling configuration lacks the label.
        EventError: too many outlines for polygons.
    """
    tag = request.labelling.answer(request.image_name, selection.label, settings.shape)
    if not mask.any():
        return []
    item = LabelledObject.of(selection.label, mask)
    name = f"{request.project}\0{request.task}\0{selection.first}"
    region_id = hashlib.sha256(name.encode()).hexdigest()[:10]
    if ANSWERS[tag.kind] == "brush":
        found = [brush_region(item, region_id, tag.name, tag.image)]
    else:
        found = polygon_regions(item, region_id, settings.tolerance, tag.name, tag.image)
    if request.item_index is not None:
        found = [region | {"item_index": request.item_index} for region in found]
    return found
