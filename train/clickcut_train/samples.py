"""Training samples: a crop of a photograph, the object to select on it, and the first clicks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from clickcut_eval.clicker import depth
from clickcut_train import clicks
from clickcut_train.augment import damage, damaged_mask
from clickcut_train.clicks import Click
from clickcut_train.data.photo import Photo
from clickcut_train.target import ChosenObject, choose_target


class SampleOptions(BaseModel):
    """How samples are drawn; lengths are pixels of the training crop.

    The defaults are the paper's; `mixed()` is the recipe of the default model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: Literal["paper", "mixed"] = Field(
        default="paper",
        description="clicks that a session starts with: those of section 3.2, or mostly a single "
        "one, as the sessions of corrections need it",
    )
    pairs_per_object: int = Field(
        default=15,
        ge=0,
        description="samples of every object in an epoch; 0: photos are drawn instead",
    )
    area_exponent: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="an object of a photo is drawn with its area to this power; 0: all alike",
    )
    min_area: int = Field(
        default=64, ge=1, description="targets with fewer pixels of the crop are not trained on"
    )
    paste: float = Field(
        default=0.0, ge=0, le=1, description="probability that an object is on another photo"
    )
    zoom: bool = Field(default=False, description="crops around the object as well as whole images")
    zoom_max: float = Field(
        default=2.0, ge=1.2, le=16, description="longest side of such a crop, in sides of the box"
    )
    augment: bool = Field(default=False, description="scale, colour, blur and JPEG damage")
    flip: bool = Field(default=True, description="mirror half of the samples")
    merge: float = Field(
        default=0.0, ge=0, le=1, description="probability that touching objects are one"
    )
    part: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="probability that a part of an object is the target, if it has",
    )
    damaged: float = Field(
        default=0.0, ge=0, le=1, description="probability that a session starts from a damaged mask"
    )
    strategies: tuple[float, float, float] = Field(
        default=(1.0, 1.0, 1.0), description="weights of the negative strategies 1, 2 and 3"
    )
    max_positive: int = Field(default=clicks.MAX_POSITIVE, ge=1, description="N_pos")
    max_in_ring: int = Field(default=clicks.MAX_IN_RING, ge=0, description="N_neg1")
    max_on_each_other: int = Field(default=clicks.MAX_ON_EACH_OTHER, ge=0, description="N_neg2")
    around: int = Field(default=clicks.AROUND, ge=0, description="N_neg3")
    ring_width: int = Field(default=clicks.RING_WIDTH, ge=2, description="d")
    step: int = Field(default=clicks.STEP, ge=1, description="d_step")
    margin: int = Field(default=clicks.MARGIN, ge=1, description="d_margin")

    @model_validator(mode="before")
    @classmethod
    def _old_keys(cls, values: Any) -> Any:
        """`choose` of older configurations and checkpoints."""
        if isinstance(values, dict) and values.get("choose") in ("uniform", "area"):
            values = dict(values)
            values.setdefault("area_exponent", 0.5 if values.pop("choose") == "area" else 0.0)
        return values

    @model_validator(mode="after")
    def _some_strategy_is_used(self) -> SampleOptions:
        if min(self.strategies) < 0 or sum(self.strategies) <= 0:
            raise ValueError("strategies: weights of at least 0, and one of them above 0")
        return self

    @classmethod
    def paper(cls) -> SampleOptions:
        """Section 3.2 and nothing else: whole images, flips, 15 pairs of every object."""
        return cls()

    @classmethod
    def mixed(cls) -> SampleOptions:
        """Single first clicks, zoomed and augmented crops, merged objects: for corrections."""
        return cls(
            first="mixed",
            pairs_per_object=0,
            area_exponent=0.5,
            zoom=True,
            augment=True,
            merge=0.12,
            damaged=0.06,
        )


@dataclass(frozen=True)
class Origin:
    """Where a sample comes from: enough to draw a part of it again, closer.

    Attributes:
        photo: the photograph.
        mask: (H, W) uint8, the target on it.
        crop: the view of it that the sample is.
        damage: seed of the colour damage of another view; None: not augmented.
    """

    photo: Photo
    mask: NDArray[np.uint8]
    crop: Crop
    damage: int | None


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
        last: the latest correction among them, or None.
        origin: where it was drawn from, or None.
    """

    image: NDArray[np.uint8]
    target: NDArray[np.bool_]
    ignore: NDArray[np.bool_]
    probability: NDArray[np.float16]
    positive: list[Click] = field(default_factory=list)
    negative: list[Click] = field(default_factory=list)
    last: Click | None = None
    origin: Origin | None = None

    def correct(self, rng: np.random.Generator) -> bool:
        """Add the next simulated click for the current probability; False when all is right."""
        click = clicks.correction(
            self.probability > 0.5, self.target, self.ignore, self.positive + self.negative, rng
        )
        if click is None:
            return False
        self.last = click[0]
        (self.positive if click[1] else self.negative).append(click[0])
        return True


def draw(
    photo: Photo, size: int, options: SampleOptions, rng: np.random.Generator
) -> Sample | None:
    """Draw a training sample of `size` x `size` pixels from a photo.

    Returns:
        The sample, or None when what fell into the crop cannot be trained on.

    Raises:
        DataError: the photo cannot be decoded.
    """
    target = choose_target(photo, rng, options.area_exponent, options.merge, options.part)
    crop = Crop.around(target.mask, size, options, rng)
    shown = crop.mask(target.mask)
    if np.count_nonzero(shown) < options.min_area:
        return None
    void = photo.void_mask()
    ignore = np.zeros_like(shown) if void is None else crop.mask(void) & ~shown
    image = crop.image(photo.image())
    # A generator of its own: whether a sample is drawn again must not change the following ones.
    again = int(rng.spawn(1)[0].integers(2**32)) if options.augment else None
    sample = Sample(
        image=damage(image, rng) if options.augment else image,
        target=shown,
        ignore=ignore,
        probability=np.zeros((size, size), np.float16),
        origin=Origin(photo, target.mask, crop, again),
    )
    if rng.random() < options.damaged:
        sample.probability = damaged_mask(shown, rng).astype(np.float16)
        if sample.correct(rng):
            return sample
        sample.probability[...] = 0
    (_paper_clicks if options.first == "paper" else _mixed_clicks)(
        sample, target, crop, options, rng
    )
    return sample if sample.positive else None


@dataclass(frozen=True)
class Crop:
    """A square view of a photo.

    Attributes:
        size: side of the view, pixels.
        matrix: (2, 3) float64, pixels (x, y, 1) of the photo -> pixels of the view.
    """

    size: int
    matrix: NDArray[np.float64]

    @staticmethod
    def around(
        target: NDArray[np.uint8], size: int, options: SampleOptions, rng: np.random.Generator
    ) -> Crop:
        """Draw a crop for a target (H, W)."""
        x0, y0, x1, y1 = _choose_region(target, options, rng)
        sx, sy = size / (x1 - x0), size / (y1 - y0)
        matrix = np.array([[sx, 0, (0.5 - x0) * sx - 0.5], [0, sy, (0.5 - y0) * sy - 0.5]])
        if options.flip and rng.random() < 0.5:
            matrix[0] = -matrix[0] + (0, 0, size - 1)
        return Crop(size, matrix)

    def image(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The view of an (H, W, 3) uint8 photo: (S, S, 3) uint8."""
        smaller = min(abs(self.matrix[0, 0]), self.matrix[1, 1])
        if smaller < 0.7:
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.4 / smaller), np.uint8)
        return np.asarray(self._warp(pixels, cv2.INTER_LINEAR), np.uint8)

    def mask(self, mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """The view of an (H, W) uint8 mask: (S, S) bool."""
        return self._warp(mask, cv2.INTER_NEAREST).astype(bool)

    def _warp(self, pixels: NDArray[np.uint8], how: int) -> NDArray[Any]:
        side = (self.size, self.size)
        return cv2.warpAffine(pixels, self.matrix, side, flags=how, borderMode=cv2.BORDER_REPLICATE)


def _choose_region(
    target: NDArray[np.uint8], options: SampleOptions, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Region (x0, y0, x1, y1), as at inference: the image, or the object's box with a margin."""
    height, width = target.shape
    if not options.zoom and not options.augment:
        return 0.0, 0.0, float(width), float(height)
    if not options.zoom or rng.random() < 0.4:
        shrink = rng.uniform(0.85, 1.0, 2)
        w, h = width * shrink[0], height * shrink[1]
        x0, y0 = rng.uniform(0, width - w), rng.uniform(0, height - h)
        kept = np.count_nonzero(target[int(y0) : int(y0 + h), int(x0) : int(x0 + w)])
        if kept >= 0.7 * np.count_nonzero(target):
            return x0, y0, x0 + w, y0 + h
    if not options.zoom:
        return 0.0, 0.0, float(width), float(height)
    ys, xs = np.flatnonzero(target.any(1)), np.flatnonzero(target.any(0))
    box_w, box_h = xs[-1] + 1 - xs[0], ys[-1] + 1 - ys[0]
    side = max(box_w, box_h) * np.exp(rng.uniform(np.log(1.1), np.log(options.zoom_max)))
    w = min(width, max(box_w * rng.uniform(1.05, 1.5), side * rng.uniform(0.75, 1.0), 64))
    h = min(height, max(box_h * rng.uniform(1.05, 1.5), side * rng.uniform(0.75, 1.0), 64))
    cx = (xs[0] + xs[-1] + 1) / 2 + rng.uniform(-0.15, 0.15) * w
    cy = (ys[0] + ys[-1] + 1) / 2 + rng.uniform(-0.15, 0.15) * h
    x0 = float(np.clip(cx - w / 2, 0, width - w))
    y0 = float(np.clip(cy - h / 2, 0, height - h))
    return x0, y0, x0 + w, y0 + h


def _paper_clicks(
    sample: Sample,
    target: ChosenObject,
    crop: Crop,
    options: SampleOptions,
    rng: np.random.Generator,
) -> None:
    """Positive clicks, and negative ones by one of the three strategies (section 3.2)."""
    count = int(rng.integers(1, options.max_positive + 1))
    sample.positive = clicks.positive_clicks(
        sample.target, count, rng, options.step, options.margin
    )
    weights = np.array(options.strategies)
    strategy = 1 + int(rng.choice(3, p=weights / weights.sum()))
    sample.negative = negatives(strategy, sample, target, crop, options, rng)


def negatives(
    strategy: int,
    sample: Sample,
    target: ChosenObject,
    crop: Crop,
    options: SampleOptions,
    rng: np.random.Generator,
) -> list[Click]:
    """Negative clicks of the paper's strategy 1, 2 or 3 for a sample."""
    o = options
    if strategy == 1:
        count = int(rng.integers(0, o.max_in_ring + 1))
        return clicks.negatives_in_ring(
            sample.target, sample.ignore, count, rng, o.ring_width, o.step, o.margin
        )
    if strategy == 2:
        others = (crop.mask(other) for other in target.others())
        return clicks.negatives_on_others(others, o.max_on_each_other, rng, o.step, o.margin)
    return clicks.negatives_around(sample.target, sample.ignore, o.around, rng, o.ring_width)


def _mixed_clicks(
    sample: Sample,
    target: ChosenObject,
    crop: Crop,
    options: SampleOptions,
    rng: np.random.Generator,
) -> None:
    """Mostly one positive click; sometimes the paper's, fewer of them or none on the background."""
    if rng.random() < 0.7:
        into = depth(sample.target)
        pixel = clicks.random_pixel(into > into.max() * rng.choice([0.25, 0.5, 0.8]), rng)
        sample.positive = [pixel] if pixel else []
        return
    count = int(rng.integers(1, options.max_positive + 1))
    sample.positive = clicks.positive_clicks(
        sample.target, count, rng, options.step, options.margin
    )
    strategy = int(rng.integers(4))
    if strategy:
        some = options.model_copy(
            update={
                "max_on_each_other": min(2, options.max_on_each_other),
                "around": int(rng.integers(min(3, options.around), options.around + 1)),
            }
        )
        sample.negative = negatives(strategy, sample, target, crop, some, rng)
