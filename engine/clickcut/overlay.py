"""Pictures of a selection: outline in cyan, background darkened, clicks as green and red dots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

BACKGROUND = 0.45
"""Brightness factor outside the selection."""

OUTLINE = (0, 255, 255)
POSITIVE, NEGATIVE = (40, 220, 60), (235, 45, 45)
RIM = (255, 255, 255)

_SUBPIXEL_BITS = 4

_MARGIN, _CAPTION_HEIGHT = 12, 30
_PAPER, _INK = 250, (30, 30, 30)


def draw_overlay(
    pixels: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    clicks: Iterable[tuple[float, float, bool]] = (),
) -> NDArray[np.uint8]:
    """Draw a selection over its image.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        mask: (H, W) bool.
        clicks: x, y in image pixels, and whether positive (green) or negative (red).

    Returns:
        (H, W, 3) uint8, RGB; lines and dots grow with the image.
    """
    unit = max(1.0, min(mask.shape) / 300)
    dark = cv2.LUT(pixels, (np.arange(256) * BACKGROUND).astype(np.uint8))
    out = np.where(mask[:, :, None], pixels, dark).astype(np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, outlines, -1, OUTLINE, max(1, round(1.2 * unit)), cv2.LINE_AA)
    for x, y, positive in clicks:
        for radius, colour in ((4.5, RIM), (3.3, POSITIVE if positive else NEGATIVE)):
            _dot(out, x, y, radius * unit, colour)
    return out


def contact_sheet(
    pictures: Sequence[tuple[str, NDArray[np.uint8]]], columns: int = 3, width: int = 480
) -> NDArray[np.uint8]:
    """Pictures side by side with their captions, row by row.

    Args:
        pictures: caption, and (H, W, 3) uint8 RGB of any size; at least one.
        columns: pictures in a row.
        width: of a picture on the sheet, pixels; heights follow.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    cells = [_cell(caption, picture, width) for caption, picture in pictures]
    columns = min(columns, len(cells))
    rows = [cells[k : k + columns] for k in range(0, len(cells), columns)]
    heights = [max(cell.shape[0] for cell in row) for row in rows]
    step = width + _MARGIN
    sheet = np.full(
        (sum(heights) + _MARGIN * (len(rows) + 1), columns * step + _MARGIN, 3), _PAPER, np.uint8
    )
    y = _MARGIN
    for row, height in zip(rows, heights, strict=True):
        for k, cell in enumerate(row):
            x = _MARGIN + k * step
            sheet[y : y + cell.shape[0], x : x + width] = cell
        y += height + _MARGIN
    return sheet


def _cell(caption: str, picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    how = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_LINEAR
    cell = np.full((height + _CAPTION_HEIGHT, width, 3), _PAPER, np.uint8)
    cell[_CAPTION_HEIGHT:] = cv2.resize(picture, (width, height), interpolation=how)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.55
    needed = cv2.getTextSize(caption, font, size, 1)[0][0]
    size *= min(1.0, (width - 8) / max(needed, 1))
    cv2.putText(cell, caption, (2, _CAPTION_HEIGHT - 10), font, size, _INK, 1, cv2.LINE_AA)
    return cell


def _dot(
    pixels: NDArray[np.uint8], x: float, y: float, radius: float, colour: tuple[int, int, int]
) -> None:
    scale = 1 << _SUBPIXEL_BITS
    centre = round(x * scale), round(y * scale)
    cv2.circle(
        pixels, centre, round(radius * scale), colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS
    )
