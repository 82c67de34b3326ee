"""Small things that several tests of the evaluation need."""

from __future__ import annotations

import cv2


def save(path, image):
    """Write an image, (H, W) or (H, W, 3) BGR; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
