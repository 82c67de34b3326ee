"""Masks of every kind, for tests of what is made from masks."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco

Mask = NDArray[np.bool_]


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """Masks of every density, with runs and with speckles."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    bits = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    return np.array(bits, np.bool_).reshape(height, width)


def blob(height: int, width: int, seed: int = 0) -> Mask:
    """A mask with smooth outlines, holes and islands."""
    noise = np.random.default_rng(seed).random((12, 16)).astype(np.float32)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) > 0.55)


EDGE_CASES = {
    "empty": np.zeros((5, 7), np.bool_),
    "full": np.ones((5, 7), np.bool_),
    "one pixel": np.ones((1, 1), np.bool_),
    "no pixel": np.zeros((1, 1), np.bool_),
    "first": np.eye(1, 30, 0, dtype=np.bool_).reshape(5, 6),
    "last": np.eye(1, 30, 29, dtype=np.bool_).reshape(5, 6),
    "columns": np.tile([True, False], (6, 4)),
    "rows": np.tile([[True], [False]], (4, 6)),
    "chess": np.indices((6, 7)).sum(axis=0) % 2 == 0,
    "blob": blob(150, 200),
}
each_mask = pytest.mark.parametrize("mask", EDGE_CASES.values(), ids=EDGE_CASES.keys())


def coco_mask(counts: bytes, height: int, width: int) -> Mask:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools before NumPy 2
        return np.asarray(coco.decode({"size": [height, width], "counts": counts}) > 0)
