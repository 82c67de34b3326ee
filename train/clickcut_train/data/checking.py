"""Reading photos one by one: what is at fault is skipped, counted and listed; too much stops."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from clickcut.errors import ImageError
from clickcut.images import decode
from clickcut_eval.datasets.entry import LIMITS, Annotated, Entry, FaultyPhotoError
from clickcut_eval.datasets.jpeg_holes import has_hole
from clickcut_eval.datasets.rle import Rle
from clickcut_train.data.photo import JPEG, Photo
from clickcut_train.data.report import Report
from clickcut_train.errors import DataError

A = TypeVar("A")
B = TypeVar("B")

_ENOUGH_TO_TELL = 20
"""Photos after which maps of classes are distinguished from maps of instances."""


@dataclass(frozen=True)
class Strictness:
    """What is left out, and what stops reading.

    Attributes:
        min_area: objects with fewer pixels are left out.
        max_faulty: share of faulty photos above which reading stops; one is always let pass.
        any_ids: whether instances may have ids that are not numbered from 1.
    """

    min_area: int = 1
    max_faulty: float = 0.1
    any_ids: bool = False


Convert = Callable[[Photo, NDArray[np.uint8]], Photo]
"""What is done to a checked photo; it gets the decoded image as well, (H, W, 3) uint8, RGB."""


def read_entries(
    entries: Sequence[tuple[Entry, Report]],
    strictness: Strictness,
    convert: Convert = lambda photo, _: photo,
    workers: int = 2,
) -> Iterator[tuple[Report, Photo]]:
    """Read, check and convert photos in their order, on several threads.

    Args:
        entries: photos, each with the report of its source.
        strictness: what is left out or stops.
        convert: applied to each good photo.
        workers: threads.

    Yields:
        The photos that have an object, with the report of their source.

    Raises:
        DataError: more faulty photos than `strictness` allows, or class maps in place of
            instance maps.
    """

    def read(
        job: tuple[Entry, Report],
    ) -> tuple[Entry, Report, Annotated | None, Photo | None, str]:
        entry, report = job
        try:
            found = entry.read()
            photo, pixels = check_photo(entry.name, entry.encoded(), found)
            return entry, report, found, convert(photo, pixels), ""
        except FaultyPhotoError as error:
            return entry, report, None, None, str(error)

    for entry, report, found, photo, fault in ordered_map(read, entries, workers):
        if found is None or photo is None:
            report.faulty.append((entry.name, fault))
            _check_faults(report, strictness)
            continue
        report.dropped += [(entry.name, reason) for reason in found.dropped]
        if found.ids:
            report.numbered += 1
            report.unnumbered += found.like_classes
            if report.numbered == _ENOUGH_TO_TELL:
                _check_ids(report, strictness)
        if (kept := _without_small(photo, strictness.min_area, report)) is not None:
            yield report, kept
    for report in {id(report): report for _, report in entries}.values():
        _check_ids(report, strictness)


def check_photo(name: str, encoded: bytes, found: Annotated) -> tuple[Photo, NDArray[np.uint8]]:
    """Check a photo as a whole; instances without pixels are left out.

    Returns:
        The photo, and its decoded image, (H, W, 3) uint8, RGB.

    Raises:
        FaultyPhotoError: the image is damaged, too large or has a hole, or a mask has another
            size.
    """
    try:
        pixels = decode(encoded, LIMITS)
    except ImageError as error:
        raise FaultyPhotoError(str(error)) from error
    if encoded.startswith(JPEG) and has_hole(encoded):
        raise FaultyPhotoError("the JPEG is damaged: it has a hole of zero bytes in its picture")
    height, width = pixels.shape[:2]
    for rle in (*found.rles, *([found.void] if found.void else [])):
        h, w = rle["size"]
        if (h, w) != (height, width):
            turned = (w, h) == (height, width)
            raise FaultyPhotoError(
                f"the mask is {w} x {h} pixels, the image {width} x {height}"
                + (", and turned by its EXIF data: store it upright" if turned else "")
            )
    rles = tuple(r for r in found.rles if coco_mask.area(r))
    return Photo(name, encoded, rles, _outside(found.void, rles)), pixels


def _outside(void: Rle | None, rles: tuple[Rle, ...]) -> Rle | None:
    """Void pixels that lie on no instance; None when there are none."""
    if void is None or not coco_mask.area(void):
        return None
    covered = coco_mask.merge([void, *rles], intersect=False)
    objects = coco_mask.merge(list(rles)) if rles else None
    if objects is None or coco_mask.area(covered) == coco_mask.area(void) + coco_mask.area(objects):
        return void
    rest: Rle = coco_mask.encode(
        np.asfortranarray(coco_mask.decode(void) & (1 - coco_mask.decode(objects)))
    )
    return rest if coco_mask.area(rest) else None


def _without_small(photo: Photo, min_area: int, report: Report) -> Photo | None:
    """The photo without objects of fewer pixels than `min_area`; None when no object is left."""
    kept = tuple(r for r in photo.rles if coco_mask.area(r) >= min_area)
    report.small += len(photo.rles) - len(kept)
    if not kept:
        report.without_object += 1
        return None
    report.photos += 1
    report.objects += len(kept)
    return replace(photo, rles=kept)


def _check_faults(report: Report, strictness: Strictness) -> None:
    if len(report.faulty) > max(1.0, strictness.max_faulty * report.total):
        raise DataError(
            f"{len(report.faulty)} of {report.total} photos are faulty, more "
            f"than {strictness.max_faulty:.0%}; repair the data, or allow more with max_faulty:\n"
            f"{report}"
        )


def _check_ids(report: Report, strictness: Strictness) -> None:
    """Stop when most of the masks so far look like maps of classes."""
    if report.unnumbered > report.numbered / 2 and not strictness.any_ids:
        raise DataError(
            f"{report.source}: {report.unnumbered} of {report.numbered} masks have instance ids "
            "that are not numbered from 1, as a map of classes has; give the folder with the "
            "instance maps, or say any_ids if these ids do tell objects apart"
        )


def ordered_map(function: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """Results of `function` in the order of `items`, few of them computed ahead on threads."""
    pending: deque[Future[B]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
