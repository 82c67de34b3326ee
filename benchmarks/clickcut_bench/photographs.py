"""Photographs that benchmarks click on, in the sizes that they are measured at."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut_eval.data_spec import EVALUATED, parse_spec
from clickcut_eval.datasets import open_dataset
from clickcut_eval.targets import Target, packaged_target

Photograph = tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]
"""(H, W, 3) uint8 RGB; the object on it and the pixels to ignore, (H, W) bool."""


def targets(data: str) -> list[Target]:
    """The objects of a data set, see `clickcut_eval.data_spec`; the packaged one for "".

    Raises:
        DatasetError: another spelling, or a folder that is not as it should be.
    """
    if not data:
        return [packaged_target()]
    return open_dataset(parse_spec(data, EVALUATED))[1]


def photograph(target: Target) -> Photograph:
    """Read a target's photograph and masks."""
    ground_truth = target.ground_truth()
    return target.pixels(), ground_truth.mask, ground_truth.ignore


def scaled(photograph: Photograph, width: int, height: int) -> Photograph:
    """The photograph at another size, pixels."""
    pixels, *masks = photograph
    how = cv2.INTER_AREA if pixels.shape[1] > width else cv2.INTER_CUBIC
    mask, ignore = (
        cv2.resize(part.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        for part in masks
    )
    return cv2.resize(pixels, (width, height), interpolation=how).astype(np.uint8), mask, ignore


def scaled_to(photograph: Photograph, pixels: int) -> Photograph:
    """The photograph with about this many pixels, in its own proportions."""
    height, width = photograph[1].shape
    factor = math.sqrt(pixels / (height * width))
    return scaled(photograph, round(width * factor), round(height * factor))
