"""Draw docs/clicks.png: the three strategies of negative clicks on the packaged photograph.

python docs/clicks.py
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np

from clickcut.image_file.write import write_picture
from clickcut_eval.datasets.rle import encode_mask
from clickcut_train.data import Photo
from clickcut_train.preview import sheet, strategy_cells
from clickcut_train.sample_options import SampleOptions

SIZE, SEED = 256, 3

OTHERS = [  # outlines of two further objects, (x, y) pixels
    [(0, 0), (44, 0), (66, 90), (84, 150), (96, 215), (60, 262), (34, 340), (20, 470), (0, 500)],
    [
        (400, 8),
        (418, 0),
        (436, 16),
        (446, 44),
        (455, 75),
        (454, 262),
        (435, 280),
        (370, 270),
        (358, 220),
        (380, 180),
        (381, 52),
        (396, 50),
    ],
]


def photograph() -> Photo:
    """The astronaut, the flag and the model of a shuttle, which is the one to select."""
    assets = files("clickcut") / "assets"
    encoded = (assets / "astronaut.jpg").read_bytes()
    mask = cv2.imdecode(
        np.frombuffer((assets / "astronaut_mask.png").read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE
    )
    masks = [mask > 0]
    for outline in OTHERS:
        other = np.zeros(mask.shape, np.uint8)
        cv2.fillPoly(other, [np.array(outline, np.int32)], 1)
        masks.append((other > 0) & (mask == 0))
    return Photo("shuttle", encoded, tuple(encode_mask(m) for m in masks), chosen=2)


def main() -> None:
    """Write the picture beside this file."""
    picture = sheet(strategy_cells(photograph(), SampleOptions(flip=False), SIZE, SEED), SIZE)
    out = Path(__file__).with_suffix(".png")
    write_picture(out, picture)


if __name__ == "__main__":
    main()
