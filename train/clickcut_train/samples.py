"""Training samples: a crop of a photograph, the object to select on it, and the first clicks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clickcut_eval.clicker import depth
from clickcut_train import clicks
from clickcut_train.augment import damage, damaged_mask
from clickcut_train.clicks import Click
from clickcut_train.crop import Crop
from clickcut_train.data.photo import Photo
from clickcut_train.sample_options import SampleOptions
from clickcut_train.target import ChosenObject, choose_target


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
    o = options
    target = choose_target(photo, rng, o.area_exponent, o.merge, o.part, o.lobe)
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
