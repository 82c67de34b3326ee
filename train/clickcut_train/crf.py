"""Learn the dense CRF of the comparison: mean-field iterations as layers (Zheng et al., ICCV 2015).

The segmenter stays as it is; kernel weights for each label and the compatibility of labels are
learned by gradient descent through the iterations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clickcut_eval.datasets.labels import VOID, read_id_map
from clickcut_eval.datasets.voc import CLASSES, voc_entries
from clickcut_eval.methods.dense_crf import DenseCrf, Filters, likely_labels
from clickcut_eval.methods.segmenter import Segmenter
from clickcut_train.errors import DataError

ITERATIONS = 5
"""While learning, as in the paper; 10 afterwards."""


@dataclass(frozen=True)
class Labelled:
    """A photograph and its classes.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        classes: (H, W) uint16, VOC's index; 255 = void.
    """

    pixels: NDArray[np.uint8]
    classes: NDArray[np.uint16]


class _Filter(torch.autograd.Function):
    """A kernel as a layer. Both kernels are symmetric, so the gradient passes the same filter; the
    lattice's is symmetric up to the order of its directions."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, filters: Filters, alike: bool) -> Tensor:
        ctx.filters, ctx.alike = filters, alike
        array = values.numpy()
        return torch.from_numpy(filters.alike(array) if alike else filters.near(array))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        filters: Filters = ctx.filters
        gradient = gradients[0].contiguous().numpy()
        if ctx.alike:
            flat = gradient.reshape(-1, gradient.shape[2]) * filters.alike_scale
            back = filters.lattice.filter(np.ascontiguousarray(flat)).reshape(gradient.shape)
        else:
            back = filters.blur(np.ascontiguousarray(gradient * filters.near_scale))
        return torch.from_numpy(back), None, None


def _filtered(values: Tensor, filters: Filters, alike: bool) -> Tensor:
    result: Tensor = _Filter.apply(values, filters, alike)  # type: ignore[no-untyped-call]
    return result


class MeanField(nn.Module):
    """The CRF with its weights as parameters, which start from those of `DenseCrf()`."""

    def __init__(self, labels: int = len(CLASSES)) -> None:
        super().__init__()
        start = DenseCrf()
        self.appearance = nn.Parameter(
            torch.full((labels,), float(np.max(start.appearance_weight)))
        )
        self.smoothness = nn.Parameter(
            torch.full((labels,), float(np.max(start.smoothness_weight)))
        )
        self.compatibility = nn.Parameter(torch.eye(labels))

    def forward(self, unary: Tensor, filters: Filters, labels: Tensor) -> Tensor:
        """Scores (H, W, K) after the iterations, of which `softmax` is the mean field.

        Args:
            unary: (H, W, K) float32, logarithms of the segmenter's probabilities.
            filters: of the photograph.
            labels: (K,) int64, which labels those are.
        """
        compatibility = self.compatibility[labels][:, labels]
        scores = unary
        for _ in range(ITERATIONS):
            q = scores.softmax(2)
            message = self.appearance[labels] * _filtered(q, filters, alike=True)
            message = message + self.smoothness[labels] * _filtered(q, filters, alike=False)
            scores = unary + message @ compatibility.T
        return scores

    def crf(self) -> DenseCrf:
        """The CRF with the present weights, rounded to four digits."""
        appearance, smoothness, compatibility = (
            np.round(p.detach().double().numpy(), 4).tolist()
            for p in (self.appearance, self.smoothness, self.compatibility)
        )
        return DenseCrf(
            appearance_weight=tuple(appearance),
            smoothness_weight=tuple(smoothness),
            compatibility=tuple(map(tuple, compatibility)),
        )


def labelled(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Photographs and class maps of a VOC tree.

    Raises:
        DataError: there are none.
        DatasetError: no such split.
    """
    entries = voc_entries(root, (split,))
    every = [(e.image, root / "SegmentationClass" / f"{e.name}.png") for e in entries]
    pairs = [(image, classes) for image, classes in every if image and classes.is_file()]
    if not pairs:
        raise DataError(f"{root}: no class maps in SegmentationClass for the split {split}")
    return pairs


def learn(
    field: MeanField,
    segmenter: Segmenter,
    photographs: list[Labelled],
    steps: int,
    lr: float = 0.02,
    seed: int = 0,
) -> Iterator[float]:
    """Learn, one photograph a step.

    Args:
        field: the CRF; changed.
        segmenter: below the CRF; not changed.
        photographs: drawn at random.
        steps: how many.
        lr: learning rate of Adam, for the compatibility; ten times as much for kernel weights.
        seed: of the draws.

    Yields:
        The mean cross-entropy of each step.
    """
    optimizer = torch.optim.Adam(
        [
            {"params": [field.compatibility], "lr": lr},
            {"params": [field.appearance, field.smoothness], "lr": 10 * lr},
        ]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        photograph = photographs[int(rng.integers(len(photographs)))]
        loss = _loss(field, segmenter, photograph)
        optimizer.zero_grad()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(field.parameters(), 1.0)
            optimizer.step()
        schedule.step()
        yield float(loss.detach())


def _loss(field: MeanField, segmenter: Segmenter, photograph: Labelled) -> Tensor:
    """Mean cross-entropy over the pixels whose class is among the likely labels."""
    probability = segmenter.probabilities(photograph.pixels)
    labels = likely_labels(probability)
    unary = np.log(np.maximum(probability[..., labels], 1e-8)).astype(np.float32)
    place = np.full(VOID + 1, -1)
    place[labels] = np.arange(labels.size)
    target = torch.from_numpy(place[np.minimum(photograph.classes, VOID)])
    known = target >= 0
    if labels.size < 2 or not bool(known.any()):
        return torch.zeros(())
    filters = Filters(photograph.pixels, DenseCrf())
    scores = field(torch.from_numpy(unary), filters, torch.from_numpy(labels))
    return nn.functional.cross_entropy(scores[known], target[known])


def mean_iou(photographs: list[Labelled], segmenter: Segmenter, crf: DenseCrf | None) -> float:
    """Mean IoU of the classes over photographs, with a CRF or without; void is left out."""
    counts = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for photograph in photographs:
        probability = segmenter.probabilities(photograph.pixels)
        found = crf.refine(photograph.pixels, probability) if crf else probability.argmax(2)
        known = photograph.classes < len(CLASSES)
        pairs = photograph.classes[known].astype(np.int64) * len(CLASSES) + found[known]
        counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)
    right = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - right
    return float((right[union > 0] / union[union > 0]).mean())


def read(pair: tuple[Path, Path]) -> Labelled:
    """Read a photograph and its class map.

    Raises:
        DataError: they cannot be read, or differ in size.
    """
    import cv2

    data = np.fromfile(pair[0], np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if picture is None:
        raise DataError(f"{pair[0]}: not an image")
    classes = read_id_map(pair[1])
    if classes.shape != picture.shape[:2]:
        raise DataError(f"{pair[1]}: another size than its photograph")
    return Labelled(np.ascontiguousarray(picture[..., ::-1]), classes)
