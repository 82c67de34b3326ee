"""A timed selection on the packaged photograph, compared with the mask that is expected."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickcut import kernels
from clickcut.backends import Predictor, load_predictor
from clickcut.bundle import BundleMetadata, bundled_models
from clickcut.doctor.findings import Finding, examine
from clickcut.encoding import from_rle
from clickcut.images import decode, prepare
from clickcut.session import ClickSession
from clickcut.warm_up import warm_up

ASSETS = resources.files("clickcut") / "assets"

CLICKS = ((190, 330, True), (228, 100, True), (12, 430, False))
"""Clicks on the photograph: x, y, positive."""

MIN_IOU = 0.98
"""With the expected mask. Processors round differently, which moves single pixels of an outline."""

MIN_OBJECT_IOU = 0.5
"""With the object, for models of which no mask is expected: they may be of any quality."""

_SLOW_CLICK_MS = 300.0

Mask = NDArray[np.bool_]


def photograph() -> bytes:
    """Return the packaged photograph, a JPEG file."""
    return (ASSETS / "astronaut.jpg").read_bytes()


def key_of(metadata: BundleMetadata) -> str:
    """Return under which key a model's expected mask is kept."""
    return f"{metadata.name}@{metadata.version}"


def expected_mask(metadata: BundleMetadata) -> Mask | None:
    """Return the mask (H, W) bool that a model gives after `CLICKS`; None if it is not known."""
    known = json.loads((ASSETS / "expected_masks.json").read_text())
    entry = known.get(key_of(metadata))
    if entry is None or entry["checkpoint"] != metadata.checkpoint_sha256:
        return None
    return from_rle(entry["counts"].encode(), entry["height"], entry["width"])


def iou(first: Mask, second: Mask) -> float:
    """Return the intersection of two masks (H, W) bool over their union; 1 for two empty ones."""
    union = int((first | second).sum())
    return float((first & second).sum() / union) if union else 1.0


def judged(metadata: BundleMetadata, mask: Mask) -> tuple[str, bool]:
    """Compare a mask with the expected one, or with the object if none is.

    Returns:
        The comparison in words, and whether the mask is right.
    """
    expected = expected_mask(metadata)
    if expected is not None:
        found = iou(mask, expected) if mask.shape == expected.shape else 0.0
        return f"IoU {found:.3f} with the expected mask", found >= MIN_IOU
    truth = decode((ASSETS / "astronaut_mask.png").read_bytes())[..., 0] > 127
    found = iou(mask, truth)
    return f"IoU {found:.3f} with the object (no mask is expected)", found >= MIN_OBJECT_IOU


def self_tests(models: Sequence[Path]) -> Iterator[Finding]:
    """Yield for each model whether its mask is right, and how long it took.

    Args:
        models: bundles or plans.
    """
    yield from examine([("self-test", partial(self_test, path)) for path in models])
    yield _kernels()


def self_test(path: Path) -> Iterator[Finding]:
    """Select the object of the photograph with one model.

    Raises:
        BackendError, BundleError: the model cannot be loaded.
    """
    began = time.perf_counter()
    predictor = load_predictor(path)
    warm_up(predictor)
    ready = time.perf_counter() - began
    mask, first, later = _select(predictor)
    metadata = predictor.metadata
    words, right = judged(metadata, mask)
    data: dict[str, object] = {
        "model": key_of(metadata),
        "backend": predictor.backend,
        "warm_up_seconds": round(ready, 3),
        "first_click_ms": round(first, 2),
        "later_click_ms": round(later, 2),
        "comparison": words,
    }
    text = (
        f"{key_of(metadata)} in {predictor.backend}: {words}; ready after {ready:.1f} s, "
        f"first click {first:.0f} ms, later clicks {later:.0f} ms"
    )
    if not right:
        advice = (
            f"check the file with clickcut models verify {_named(path)}; install onnxruntime and "
            "numba again; delete the cache of kernels"
        )
        yield Finding("self-test", "error", text, advice, data)
    elif later > _SLOW_CLICK_MS:
        advice = "the processor is slow or busy: end other programs, or raise the CPU quota"
        yield Finding("self-test", "warning", text, advice, data)
    else:
        yield Finding("self-test", "ok", text, data=data)


def _select(predictor: Predictor) -> tuple[Mask, float, float]:
    """Return the mask, and the milliseconds of the first click and of the others in the median."""
    session = ClickSession(prepare(photograph()), predictor)
    spent = []
    for x, y, positive in CLICKS:
        began = time.perf_counter()
        session.click(x, y, positive)
        spent.append(1e3 * (time.perf_counter() - began))
    return session.mask.copy(), spent[0], statistics.median(spent[1:])


def _named(path: Path) -> str:
    return next((name for name, p in bundled_models().items() if p == path), str(path))


def _kernels() -> Finding:
    """Return how many kernels were read from the cache; after the tests, which used them."""
    compiled = [k for k in kernels.kernels if sum(k.stats.cache_misses.values())]
    read = [k for k in kernels.kernels if sum(k.stats.cache_hits.values())]
    text = f"{len(read)} read from the cache, {len(compiled)} compiled"
    data: dict[str, object] = {"read": len(read), "compiled": len(compiled)}
    if kernels.kept():
        return Finding("kernels", "ok", text, data=data)
    advice = f"clickcut warm-up --cache DIR, and set {kernels.ENVIRONMENT}=DIR"
    return Finding("kernels", "warning", f"{text}; they cannot be cached", advice, data)
