"""Events as JSON: what the files of recorded sessions hold, one object per line."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from clickcut.encoding import to_rle
from clickcut.session.events import (
    BoxPrompt,
    Click,
    Event,
    Exclude,
    InitialMask,
    MoveClick,
    RemoveClick,
    SetParameters,
)


def described(event: Event, height: int, width: int) -> dict[str, Any]:
    """Return an event in types that JSON has; `event` is its name.

    Pixels are x, y of the image; a box is x0, y0, x1, y1, half-open; masks are COCO's compressed
    run lengths of the whole image.

    Args:
        event: of a session.
        height: of its image, pixels.
        width: of its image, pixels.
    """
    match event:
        case Click():
            points = [list(point) for point in event.points]
            return {"event": "click", "positive": event.positive, "points": points}
        case MoveClick(index, point):
            return {"event": "move_click", "index": index, "point": list(point)}
        case RemoveClick(index):
            return {"event": "remove_click", "index": index}
        case BoxPrompt(box):
            return {"event": "box", "box": [box.x0, box.y0, box.x1, box.y1]}
        case InitialMask(packed):
            bits = np.unpackbits(packed, count=height * width).reshape(height, width)
            return {"event": "initial_mask", "counts": to_rle(bits.view(np.bool_)).decode()}
        case SetParameters(parameters):
            return {"event": "set_parameters", **asdict(parameters)}
        case Exclude(pixels):
            mask = np.zeros((height, width), np.bool_)
            if pixels.box is not None:
                mask[pixels.box.slices] = pixels.cropped()
            return {"event": "exclude", "counts": to_rle(mask).decode()}
    return {"event": "reset"}
