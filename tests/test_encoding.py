"""Masks on the wire: against pycocotools, against what a hostile client may send, and back."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_cases import Mask, blob, coco_mask, each_mask, masks
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from clickcut import encoding
from clickcut.errors import EventError
from clickcut.region import Region
from clickcut.selection import bounding_box

# ---- RLE


def coco_counts(mask: Mask) -> bytes:
    counts: bytes = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    return counts


@each_mask
def test_rle_is_that_of_pycocotools(mask: Mask) -> None:
    assert encoding.to_rle(mask) == coco_counts(mask)
    assert encoding.to_rle(mask, bounding_box(mask)) == coco_counts(mask)


@given(masks())
def test_rle_there_and_back(mask: Mask) -> None:
    counts = encoding.to_rle(mask, bounding_box(mask))
    assert counts == coco_counts(mask)
    np.testing.assert_array_equal(encoding.from_rle(counts, *mask.shape), mask)


@pytest.mark.parametrize("pixels", [1, 3, 7, 20, 64])
@given(mask=masks())
def test_rle_in_pieces(pixels: int, mask: Mask) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(encoding, "_PIECE", pixels)
        assert encoding.to_rle(mask) == coco_counts(mask)
        assert encoding.to_rle(mask, bounding_box(mask)) == coco_counts(mask)


def test_rle_of_dots_takes_little_memory() -> None:
    mask = np.random.default_rng(0).random((3000, 3000)) < 0.5
    tracemalloc.start()
    try:
        counts = encoding.to_rle(mask)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counts == coco_counts(mask)
    assert peak < 10 * mask.nbytes


def test_rle_of_an_empty_box_is_that_of_nothing_selected() -> None:
    mask = np.zeros((5, 7), np.bool_)
    assert encoding.to_rle(mask, Region(3, 2, 3, 2)) == coco_counts(mask)


def test_rle_of_a_rectangle() -> None:
    mask, rectangle = blob(150, 200), Region(20, 30, 90, 70)
    part = mask[rectangle.slices]
    np.testing.assert_array_equal(encoding.from_rle(encoding.to_rle(part), *part.shape), part)


@given(st.binary(max_size=40))
@settings(max_examples=500)
def test_random_bytes_are_refused_or_decode_as_in_pycocotools(counts: bytes) -> None:
    try:
        mask = encoding.from_rle(counts, 6, 5)
    except EventError:
        return
    np.testing.assert_array_equal(mask, coco_mask(counts, 6, 5))


HOSTILE = {
    "empty": b"",
    "too short": coco_counts(np.ones((3, 3), np.bool_)),
    "too long": coco_counts(np.ones((400, 300), np.bool_)),
    "negative": b"O" + coco_counts(np.ones((6, 5), np.bool_)),
    "cut off": b"\x7f",
    "huge": b"oooooooooooo1",
    "overflows": b"ooooo?" * 400,
    "not ascii": "räuber".encode(),
    "uncompressed": b"[0, 30]",
    "nul": b"\0\0\0",
}


@pytest.mark.parametrize("counts", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_rle_is_refused(counts: bytes) -> None:
    with pytest.raises(EventError, match="RLE"):
        encoding.from_rle(counts, 6, 5)


def counts_of(numbers: list[int]) -> bytes:
    """COCO's compressed string of any numbers, as pycocotools writes it: base 32, low digit first,
    differences from the fourth on."""
    out = bytearray()
    for k, number in enumerate(numbers):
        rest = number - (numbers[k - 2] if k > 2 else 0)
        while True:
            digit = rest & 31
            rest >>= 5
            more = rest != (-1 if digit & 16 else 0)
            out.append(48 + digit + 32 * more)
            if not more:
                break
    return bytes(out)


def runs_mask(runs: list[int], height: int, width: int) -> Mask:
    """The mask of run lengths, the obvious way."""
    values = [bool(k % 2) for k, run in enumerate(runs) for _ in range(run)]
    return np.array(values, np.bool_).reshape(width, height).T


NEAR_POWERS = st.builds(
    lambda power, sign, off: sign * 2**power + off,
    st.sampled_from([4, 5, 28, 29, 30, 31, 32, 33, 62, 63, 64]),
    st.sampled_from([-1, 1]),
    st.integers(-40, 40),
)


def check_runs(runs: list[int], height: int, width: int) -> None:
    try:
        mask = encoding.from_rle(counts_of(runs), height, width)
    except EventError:
        assert min(runs) < 0 or sum(runs) != height * width or len(runs) > height * width + 1
        return
    np.testing.assert_array_equal(mask, runs_mask(runs, height, width))


@given(st.lists(st.one_of(st.integers(-3, 12), NEAR_POWERS), min_size=1, max_size=9))
@settings(max_examples=1000)
def test_any_run_lengths_are_refused_or_give_their_mask(runs: list[int]) -> None:
    check_runs(runs, 6, 5)
    check_runs([*runs, 30 - sum(runs)], 6, 5)  # sums to the size, whatever the runs are


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(7, 20))
def test_an_rle_is_decoded_in_pieces(runs: list[int], piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_CHUNK", piece)
        check_runs(runs, sum(runs) or 1, 1)


def test_runs_whose_sum_wraps_around_do_not_overrun_the_mask() -> None:
    height, width, number = 40, 30, 600_000
    target = 2**64 + height * width
    slope = 2 * target // number**2
    runs = slope * np.arange(number)
    each, rest = divmod(target - sum(runs.tolist()), number)
    runs += each
    runs[number - rest :] += 1
    assert sum(runs.tolist()) == target
    counts = counts_of(runs.tolist())
    script = (
        "import sys; from clickcut.encoding import from_rle, EventError\n"
        f"try: from_rle(sys.stdin.buffer.read(), {height}, {width})\n"
        "except EventError as error: sys.exit('RLE' not in str(error))"
    )
    # In a process of its own: this once wrote beyond the array.
    done = subprocess.run([sys.executable, "-c", script], input=counts, check=False, timeout=120)
    assert done.returncode == 0


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (2**32 - 1, 2**32 - 1), (2**16, 2**16), (-1, 4)])
def test_an_rle_of_an_impossible_size_is_refused_before_allocation(size: tuple[int, int]) -> None:
    with pytest.raises(EventError, match="a mask"):
        encoding.from_rle(b"0", *size)


def test_a_long_rle_of_a_small_mask_is_refused_unread() -> None:
    with pytest.raises(EventError, match="more than 5 x 6 pixels can take"):
        encoding.from_rle(b"0" * 10_000, 6, 5)


# ---- PNG


@each_mask
def test_png_there_and_back(mask: Mask) -> None:
    data = encoding.to_png(mask)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, np.where(mask, 255, 0))
    np.testing.assert_array_equal(encoding.from_png(data, *mask.shape), mask)


def png(pixels: NDArray[np.generic]) -> bytes:
    data: bytes = cv2.imencode(".png", pixels)[1].tobytes()
    return data


BAD_PNGS = {
    "nothing": (b"", "not a PNG"),
    "text": (b"hello", "not a PNG"),
    "signature only": (b"\x89PNG\r\n\x1a\n", "not a PNG"),
    "another size": (png(np.zeros((6, 7), np.uint8)), r"7 x 6 pixels, the image 8 x 6"),
    "colour": (png(np.zeros((6, 8, 3), np.uint8)), "single-channel"),
    "truncated": (png(blob(6, 8).view(np.uint8))[:50], "damaged"),
    "wrong chunk length": (
        png(np.zeros((6, 8), np.uint8))[:33] + b"\x7f\xff\xff\xffIDAT" + b"\0" * 9,
        "damaged",
    ),
    "two headers": (
        png(np.zeros((6, 8), np.uint8))[:33] + png(np.zeros((6, 8), np.uint8))[8:],
        "damaged.*one header",
    ),
    "huge header": (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\1\x86\xa0" * 2 + b"\x08\0\0\0\0" + b"\0" * 8,
        "100000 x 100000",
    ),
}


@pytest.mark.parametrize(("data", "message"), BAD_PNGS.values(), ids=BAD_PNGS.keys())
def test_a_bad_png_mask_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(EventError, match=message):
        encoding.from_png(data, 6, 8)


def test_a_png_mask_may_have_16_bits() -> None:
    mask = blob(6, 8)
    data = png(mask.astype(np.uint16) * np.uint16(256))
    np.testing.assert_array_equal(encoding.from_png(data, 6, 8), mask)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_a_mutated_png_mask_is_refused_or_has_the_size(mode: str) -> None:
    buffer, rng = io.BytesIO(), np.random.default_rng(0)
    Image.fromarray(blob(60, 80)).convert(mode).save(buffer, "PNG")
    for _ in range(200):
        data = bytearray(buffer.getvalue())
        for at in rng.integers(8, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(0, 256)
        try:
            mask = encoding.from_png(bytes(data), 60, 80)
        except EventError:
            continue
        assert mask.shape == (60, 80)


# ---- probability


def test_full_probability_covers_the_region() -> None:
    region = Region(10, 20, 50, 60)
    out = encoding.full_probability(region, np.full((8, 8), 0.25, np.float32), 70, 80)
    assert out.shape == (70, 80)
    assert out.dtype == np.float32
    assert np.all(out[region.slices] == 0.25)
    assert np.count_nonzero(out) == region.area
