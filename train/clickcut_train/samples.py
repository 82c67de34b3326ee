"""Training samples: a crop of a photograph, the object to select on it, and the first clicks."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from . import clicks
from .clicks import Click
from .data import Photo


@dataclass
class Sample:
    """A crop with a target and a session in progress on it.

    Attributes:
        image: (S, S, 3) uint8, RGB.
        target: (S, S) bool, the object.
        ignore: (S, S) bool, left out of loss and clicks.
        probability: (S, S) float16, what the model said last (0 at the start).
        positive: positive clicks so far, (x, y) pixels of the crop.
        negative: negative clicks so far.
    """

    image: np.ndarray
    target: np.ndarray
    ignore: np.ndarray
    probability: np.ndarray
    positive: list[Click] = field(default_factory=list)
    negative: list[Click] = field(default_factory=list)

    def correct(self, rng: np.random.Generator) -> bool:
        """Add the next simulated click for the current probability; False when all is right."""
        click = clicks.correction(
            self.probability > 0.5, self.target, self.ignore, self.positive + self.negative, rng
        )
        if click is None:
            return False
        (self.positive if click[1] else self.negative).append(click[0])
        return True


@dataclass(frozen=True)
class Options:
    """How samples are drawn.

    Attributes:
        first: clicks that a session starts with: "mixed" or "paper" (section 3.2 alone).
        zoom: crops around the object as well as whole images.
        augment: colour, blur and JPEG damage.
        merge: probability that two touching instances become one target.
    """

    first: str = "mixed"
    zoom: bool = True
    augment: bool = True
    merge: float = 0.12


def distance_channel(points: list[Click], size: int) -> np.ndarray:
    """Guidance map of equation 1: (size, size) float32, distance to a click, at most 255."""
    if not points:
        return np.full((size, size), 255, np.float32)
    free = np.ones((size, size), np.uint8)
    for x, y in points:
        free[y, x] = 0
    distance = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.minimum(distance, 255, out=distance)


def disc_channel(points: list[Click], size: int, radius: int) -> np.ndarray:
    """Guidance map of discs: (size, size) float32, 1 within `radius` pixels of a click."""
    channel = np.zeros((size, size), np.float32)
    reach = np.arange(-radius, radius + 1)
    disc = reach[:, None] ** 2 + reach[None, :] ** 2 <= radius**2
    for x, y in points:
        top, left = max(0, y - radius), max(0, x - radius)
        bottom, right = min(size, y + radius + 1), min(size, x + radius + 1)
        part = disc[top - y + radius : bottom - y + radius, left - x + radius : right - x + radius]
        channel[top:bottom, left:right][part] = 1
    return channel


def _choose_object(
    masks: np.ndarray, rng: np.random.Generator, merge: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draw the target among the instances (larger ones more often), sometimes two merged."""
    areas = masks.reshape(len(masks), -1).sum(1).astype(np.float64)
    chosen = int(rng.choice(len(masks), p=np.sqrt(areas) / np.sqrt(areas).sum()))
    target = masks[chosen].copy()
    rest = [i for i in range(len(masks)) if i != chosen]
    if rest and rng.random() < merge:
        grown = cv2.dilate(target, np.ones((7, 7), np.uint8))
        for i in rest:
            if (masks[i] & grown).any():
                target |= masks[i]
                rest.remove(i)
                break
    # Overlapping annotations (a person's tie) stay part of the target.
    return target, [masks[i] & (1 - target) for i in rest]


def _choose_region(
    target: np.ndarray, rng: np.random.Generator, zoom: bool
) -> tuple[float, float, float, float]:
    """Region to crop, as at inference: the whole image, or the object's box with a margin."""
    height, width = target.shape
    if not zoom or rng.random() < 0.4:
        shrink = rng.uniform(0.85, 1.0, 2)
        w, h = width * shrink[0], height * shrink[1]
        x0, y0 = rng.uniform(0, width - w), rng.uniform(0, height - h)
        if target[int(y0) : int(y0 + h), int(x0) : int(x0 + w)].sum() >= 0.7 * target.sum():
            return x0, y0, x0 + w, y0 + h
    if not zoom:
        return 0.0, 0.0, float(width), float(height)
    ys, xs = np.flatnonzero(target.any(1)), np.flatnonzero(target.any(0))
    box_w, box_h = xs[-1] + 1 - xs[0], ys[-1] + 1 - ys[0]
    side = max(box_w, box_h) * rng.uniform(1.1, 2.0)
    w = min(width, max(box_w * rng.uniform(1.05, 1.5), side * rng.uniform(0.75, 1.0), 64))
    h = min(height, max(box_h * rng.uniform(1.05, 1.5), side * rng.uniform(0.75, 1.0), 64))
    cx = (xs[0] + xs[-1] + 1) / 2 + rng.uniform(-0.15, 0.15) * w
    cy = (ys[0] + ys[-1] + 1) / 2 + rng.uniform(-0.15, 0.15) * h
    x0 = float(np.clip(cx - w / 2, 0, width - w))
    y0 = float(np.clip(cy - h / 2, 0, height - h))
    return x0, y0, x0 + w, y0 + h


def _colour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random brightness, contrast, cast, blur and JPEG damage of an (H, W, 3) uint8 image."""
    gain = rng.uniform(0.8, 1.25) * rng.uniform(0.93, 1.07, 3)
    offset = rng.uniform(-20, 20)
    ramp = np.arange(256, dtype=np.float64)[None, :, None]
    table = np.clip((ramp - 128) * gain + 128 + offset, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table)
    if rng.random() < 0.15:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = cv2.addWeighted(image, 1 - (k := rng.uniform(0.3, 1.0)), grey, k, 0)
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.5))
    if rng.random() < 0.15:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 85))]
        image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
    return image


def _damaged(target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A plausible wrong mask near `target` (S, S), for learning to repair an existing mask."""
    size = len(target)
    out = target.astype(np.uint8)
    k = int(rng.integers(3, 15))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (k, k))
    out = (cv2.dilate if rng.random() < 0.5 else cv2.erode)(out, kernel)
    for _ in range(int(rng.integers(1, 4))):
        centre = tuple(int(v) for v in rng.integers(0, size, 2))
        axes = tuple(int(v) for v in rng.integers(size // 16, size // 4, 2))
        cv2.ellipse(out, centre, axes, float(rng.uniform(0, 180)), 0, 360, int(rng.integers(2)), -1)
    return out


def _first_clicks(
    sample: Sample, others: list[np.ndarray], rng: np.random.Generator, paper: bool
) -> None:
    """The clicks that a session starts with: mostly one, sometimes several of the paper's kinds."""
    target = sample.target.astype(np.uint8)
    if not paper and rng.random() < 0.7:
        inside = clicks.depth(target)
        pixel = clicks.random_pixel(inside > inside.max() * rng.choice([0.25, 0.5, 0.8]), rng)
        sample.positive = [pixel] if pixel else []
        return
    sample.positive = clicks.positive_clicks(target, int(rng.integers(1, 6)), rng)
    strategy = rng.integers(1, 4) if paper else rng.integers(4)
    if strategy == 1:
        sample.negative = clicks.negatives_in_ring(target, int(rng.integers(0, 11)), rng)
    elif strategy == 2:
        most = 6 if paper else 3
        sample.negative = clicks.negatives_on_others(others, int(rng.integers(0, most)), rng)
    elif strategy == 3:
        count = 10 if paper else int(rng.integers(3, 11))
        sample.negative = clicks.negatives_around(target, count, rng)


def draw(
    photos: list[Photo],
    weights: np.ndarray,
    size: int,
    rng: np.random.Generator,
    options: Options | None = None,
) -> Sample:
    """Draw a training sample of `size` x `size` pixels; photos are drawn with `weights`."""
    options = options or Options()
    paper = options.first == "paper"
    while True:
        photo = photos[int(rng.choice(len(photos), p=weights))]
        image, masks = photo.image(), photo.masks()
        target, others = _choose_object(masks, rng, options.merge)
        void = photo.void_mask()
        ignore = np.zeros_like(target) if void is None else void & (1 - target)
        x0, y0, x1, y1 = _choose_region(target, rng, options.zoom)
        sx, sy = size / (x1 - x0), size / (y1 - y0)
        to_crop = np.array([[sx, 0, (0.5 - x0) * sx - 0.5], [0, sy, (0.5 - y0) * sy - 0.5]])
        if rng.random() < 0.5:
            to_crop[0] = -to_crop[0] + (0, 0, size - 1)

        def crop(a: np.ndarray, how: int, m: np.ndarray = to_crop) -> np.ndarray:
            return cv2.warpAffine(a, m, (size, size), flags=how, borderMode=cv2.BORDER_REPLICATE)

        target = crop(target, cv2.INTER_NEAREST)
        if target.sum() < 64:
            continue
        if min(sx, sy) < 0.7:
            image = cv2.GaussianBlur(image, (0, 0), 0.4 / min(sx, sy))
        shown = crop(image, cv2.INTER_LINEAR)
        sample = Sample(
            image=_colour(shown, rng) if options.augment else shown,
            target=target.astype(bool),
            ignore=crop(ignore, cv2.INTER_NEAREST).astype(bool),
            probability=np.zeros((size, size), np.float16),
        )
        if not paper and rng.random() < 0.06:
            sample.probability = _damaged(target, rng).astype(np.float16)
            if sample.correct(rng):
                return sample
        _first_clicks(sample, [crop(o, cv2.INTER_NEAREST) for o in others], rng, paper)
        if sample.positive:
            return sample
