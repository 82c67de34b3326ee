"""Large JPEG files: decoded reduced first, in full when that is needed, with the same masks."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import threading

import cv2
import numpy as np
import pytest
from fakes import FakePredictor, picture
from PIL import Image
from server.harness import DEADLINE

from clickcut.cut import region_cut
from clickcut.errors import BusyError, ImageError
from clickcut.image_file import Window, examine, lazy
from clickcut.image_file.lazy import open_lazily, reduction_of
from clickcut.image_file.parts import Parts
from clickcut.images import ImageLimits, PreparedImage, decode, prepare, prepare_pixels
from clickcut.region import Region
from clickcut.resample import enlarge_box
from clickcut.scales import Scales
from clickcut.server.image_store import ImageStore
from clickcut.server.memory import Allowance
from clickcut.server.pool import ComputePool
from clickcut.session import ClickSession
from clickcut.session.network_input import NetworkInput
from clickcut.shrink import mean_of_blocks, mean_of_large_blocks, shrink_box


@pytest.fixture
def tiny(monkeypatch):
    """Files of 16,000 pixels count as large."""
    monkeypatch.setattr(lazy, "MIN_REDUCED_PIXELS", 1000)


@pytest.fixture
def small(monkeypatch):
    """Files of 640x480 pixels count as large, and regions of a sixteenth are cut reduced."""
    monkeypatch.setattr(lazy, "MIN_REDUCED_PIXELS", 10_000)
    monkeypatch.setattr(region_cut, "MAX_PIXELS", 20_000)


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 92} | options)
    return buffer.getvalue()


def smooth(width, height):
    """A picture without details that would tell one reduction from another; no symmetry."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    waves = [np.sin(5 * x + 3 * y), np.cos(4 * x - 2 * y), np.sin(3 * x * y + x)]
    return np.rint(127 + 100 * np.stack(waves, axis=2)).astype(np.uint8)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def large(data):
    """The file's parts with as many pixels as need no look at their number."""
    return dataclasses.replace(examine(data), width=4000, height=3000)


# ---- which files


@pytest.mark.parametrize(
    ("width", "height", "factor"),
    [(4000, 1999, 1), (4000, 2000, 2), (6400, 4999, 2), (6400, 5000, 4)],
)
def test_the_reduction_follows_from_the_size(width, height, factor):
    assert reduction_of(Parts("JPEG", width, height, b"", plain=True)) == factor


def test_only_what_opencv_decodes_here_as_it_is_gets_reduced():
    assert reduction_of(large(jpeg(picture()))) == 2
    assert reduction_of(large(jpeg(picture()[..., 0]))) == 2
    assert reduction_of(large(jpeg(picture(), progressive=True))) == 2
    assert reduction_of(large(jpeg(picture())), Window(10, 200)) == 1
    assert reduction_of(dataclasses.replace(large(jpeg(picture())), light=False)) == 1
    cmyk = io.BytesIO()
    Image.fromarray(picture()).convert("CMYK").save(cmyk, "JPEG")
    assert reduction_of(large(cmyk.getvalue())) == 1
    png = io.BytesIO()
    Image.fromarray(picture()).save(png, "PNG")
    assert reduction_of(large(png.getvalue())) == 1


# ---- what a reduced picture shows


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(160, 120), (157, 122), (163, 129)])
def test_a_reduced_picture_lies_on_the_image_however_it_is_turned(tiny, orientation, size):
    data = jpeg(smooth(*size), exif=turned(orientation), subsampling=0)
    scales, full = open_lazily(examine(data)).scales, decode(data)
    assert scales.reduced is not None
    assert (scales.height, scales.width) == full.shape[:2]
    height, width = full.shape[:2]
    for side in (scales.reduced.factor, 6, 8, 11):
        found = mean_of_large_blocks(scales.reduced, height, width, side).astype(int)
        wanted = mean_of_blocks(full, side).astype(int)
        inside = (slice(1, height // side - 1), slice(1, width // side - 1))
        assert found.shape == wanted.shape
        assert np.abs(found[inside] - wanted[inside]).max() <= 3  # a shift by a pixel makes 6
        assert np.abs(found - wanted).max() <= 8
    np.testing.assert_array_equal(scales.full, full)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}])
def test_grey_progressive_and_restarted_files_are_reduced(tiny, options):
    pixels = smooth(160, 120)
    for shown in (pixels, pixels[..., 0]):
        data = jpeg(shown, **options)
        scales = open_lazily(examine(data)).scales
        assert scales.reduced is not None
        assert scales.reduced.pixels.shape == (30, 40, 3)
        means = mean_of_blocks(decode(data), 4).astype(int)
        assert np.abs(scales.reduced.pixels.astype(int) - means).max() <= 8


@pytest.mark.parametrize("progressive", [False, True])
def test_what_is_damaged_is_refused_at_once_with_the_same_words(tiny, progressive):
    data = jpeg(picture(), progressive=progressive)

    def outcome(work):
        try:
            work()
        except ImageError as error:
            return str(error)
        return "taken"

    rng = np.random.default_rng(0)
    files = [data[:end] for end in np.linspace(4, len(data) - 1, 60).astype(int)]
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(300, len(data), 3):
            broken[at] = rng.integers(256)
        files.append(bytes(broken))
    outcomes = [(outcome(lambda: prepare(f)), outcome(lambda: decode(f))) for f in files]  # noqa: B023
    assert all(lazily == at_once for lazily, at_once in outcomes)
    assert {lazily == "taken" for lazily, _ in outcomes} == {True, False}


def test_a_box_between_pixels_is_averaged():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3)).astype(np.uint8)
    found = shrink_box(pixels, (1.25, 0.5, 10.5, 9.0), (3, 4))
    fine = np.repeat(np.repeat(pixels, 8, axis=0), 8, axis=1).astype(float)
    fine = np.pad(fine, ((0, 8), (0, 16), (0, 0)), mode="edge")  # beyond the picture: its border
    part = fine[4 : 4 + 72, 10 : 10 + 84]
    wanted = part.reshape(3, 24, 4, 21, 3).mean((1, 3))
    assert np.abs(found - wanted).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("box", [(2.5, 1.0, 4.0, 5.25), (0.0, 0.0, 6.5, 8.0), (7.0, 5.5, 5.0, 4.0)])
def test_a_box_is_enlarged_around_the_same_centre(box):
    y, x = np.mgrid[:9, :11].astype(np.float64)
    pixels = np.stack([20 * x, 25 * y, 100 + 0 * x], axis=2).astype(np.uint8)
    found = enlarge_box(pixels, box, 16)
    left, top, width, height = box
    at = (np.arange(16) + 0.5) / 16
    across = np.clip(left + width * at - 0.5, 0, 10)  # the picture's border is repeated
    down = np.clip(top + height * at - 0.5, 0, 8)
    assert found.shape == (16, 16, 3)
    assert np.abs(found[..., 0] - 20 * across).max() <= 1
    assert np.abs(found[..., 1] - 25 * down[:, None]).max() <= 1
    assert (found[..., 2] == 100).all()


# ---- sessions


ONE_LOOK = {"zoom": True, "expansion": 1.4, "min_side": 32, "max_looks": 1}


def session_on(image, max_looks=3):
    return ClickSession(image, FakePredictor(region=ONE_LOOK | {"max_looks": max_looks}))


def test_a_first_click_does_without_the_full_picture(small):
    image = prepare(jpeg(picture(640, 480)))
    session = session_on(image, max_looks=1)
    session.click(213, 240)
    assert session.mask.any()
    assert not image.scales.is_complete
    assert image.estimated_sigma > 0


def test_masks_do_not_depend_on_when_the_full_picture_comes(small):
    data = jpeg(picture(640, 480))
    clicks = [(213, 240, True), (213, 180, True), (500, 200, False), (20, 20, True)]
    late, early = prepare(data), prepare(data)
    assert early.pixels.shape == (480, 640, 3)
    first, second = session_on(late), session_on(early)
    states = []
    for x, y, positive in clicks:
        first.click(x, y, positive)
        second.click(x, y, positive)
        np.testing.assert_array_equal(first.mask, second.mask)
        states.append(first.mask.copy())
    assert late.pixels.shape == (480, 640, 3)
    for before in states[-2::-1]:  # computed again, or kept from when it was not there
        first.undo()
        np.testing.assert_array_equal(first.mask, before)
    again = session_on(late)
    for (x, y, positive), mask in zip(clicks, states, strict=True):
        again.click(x, y, positive)
        np.testing.assert_array_equal(again.mask, mask)


def test_a_photograph_of_8_megapixels_begins_reduced_and_a_smaller_one_does_not():
    def first_mask(width, height):
        image = prepare(jpeg(cv2.resize(picture(), (width, height))))
        session = session_on(image, max_looks=1)
        session.click(width // 3, height // 2)
        return image.scales, session.mask

    scales, mask = first_mask(4000, 2000)
    assert scales.reduced is not None
    assert scales.reduced.factor == 2
    assert not scales.is_complete
    assert mask[1000, 1333]
    assert 0 < np.count_nonzero(mask) < mask.size / 2
    scales, mask = first_mask(4000, 1999)
    assert scales.reduced is None
    assert mask[999, 1333]


@pytest.mark.parametrize(("megapixels", "sides"), [(8, [500, 999]), (32, [999, 1997])])
def test_windows_around_a_first_click_do_without_the_full_picture(monkeypatch, megapixels, sides):
    """The network is unsure, and nothing small is to be seen in the windows."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 120, 3)).astype(np.uint8)
    size = {8: (4000, 2000), 32: (8000, 4000)}[megapixels]
    image = prepare(jpeg(cv2.resize(pixels, size)))
    predictor = FakePredictor(input_size=384, region=ONE_LOOK | {"max_windows": 2})
    predictor._logits = lambda x: np.full((384, 384), 0.2, np.float32)
    seen = []
    show = NetworkInput.show
    monkeypatch.setattr(NetworkInput, "show", lambda *a, **k: (seen.append(a[2]), show(*a, **k))[1])
    ClickSession(image, predictor).click(size[0] // 2, size[1] // 2)
    assert [region.width for region in seen[1:]] == sides
    assert not image.scales.is_complete
    # What they show is what the full picture shows, less sharp.
    colours = predictor.batches[1][0, :3]
    part = image.pixels[seen[1].slices]
    wanted = cv2.resize(part, (384, 384), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
    scale, offset = predictor.metadata.pixel_scale, predictor.metadata.pixel_offset
    assert np.abs((colours - offset) / scale - wanted).mean() < 3


def test_masks_are_nearly_those_of_the_full_picture(small):
    data = jpeg(picture(640, 480))
    reduced, full = session_on(prepare(data)), session_on(prepare_pixels(decode(data)))
    for session in (reduced, full):
        session.click(213, 240)
    both = np.count_nonzero(reduced.mask & full.mask)
    assert both / np.count_nonzero(reduced.mask | full.mask) > 0.97


def test_an_event_fails_without_memory_for_the_full_picture_and_can_be_repeated(small):
    full = decode(jpeg(picture(640, 480)))
    free = False

    def decode_now():
        if not free:
            raise BusyError("no memory", reason="memory")
        return full

    reduced = open_lazily(examine(jpeg(picture(640, 480)))).scales.reduced
    image = PreparedImage(Scales(480, 640, None, reduced, decode_now), "digest")
    session = session_on(image, max_looks=1)
    session.click(213, 240)
    before = session.mask.copy()
    with pytest.raises(BusyError):
        session.click(213, 242)  # a region around the object, which needs the full picture
    np.testing.assert_array_equal(session.mask, before)
    assert len(session.clicks) == 1
    free = True
    session.click(213, 242)
    assert len(session.clicks) == 2


def test_threads_that_need_the_full_picture_share_one_decoding():
    began, calls = threading.Barrier(4), []

    def decode_slowly():
        calls.append(1)
        return picture()

    scales = Scales(120, 160, None, None, decode_slowly, held_bytes=1000)
    assert scales.nbytes == 3 * 120 * 160 + 1000

    def need():
        began.wait(DEADLINE)
        assert scales.full.shape == (120, 160, 3)

    threads = [threading.Thread(target=need) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert calls == [1]
    assert scales.nbytes == 3 * 120 * 160  # the file is not held any more


def test_regions_use_the_reduced_picture_down_to_its_resolution(small):
    image = prepare(jpeg(picture(640, 480)))
    session = session_on(image)
    image.pyramid.at(4)
    image.pyramid.at(5, 2)
    assert not image.scales.is_complete
    assert image.scales.reduced.box_of(Region(8, 4, 264, 260)) == (2, 1, 64, 64)
    image.pyramid.at(3)
    assert image.scales.is_complete
    assert session.image is image


# ---- the server's store


def run_store(work, complete_after, decoding=None):
    async def main():
        pool = ComputePool(1, 4)
        store = ImageStore(
            2**30, ImageLimits(), pool, decoding=decoding, complete_after=complete_after
        )
        try:
            return await work(store)
        finally:
            pool.close()

    return asyncio.run(main())


async def until(happened):
    async with asyncio.timeout(DEADLINE):
        while not happened():
            await asyncio.sleep(0.01)


def test_the_store_decodes_in_full_in_the_background(small):
    data = jpeg(picture(640, 480))

    async def work(store):
        image = (await store.add(data)).image
        before, nbytes = image.scales.is_complete, store.nbytes
        await until(lambda: image.scales.is_complete)
        await until(lambda: store.nbytes < nbytes)
        return before, nbytes, store.nbytes, image.nbytes

    before, nbytes, after, counted = run_store(work, complete_after=0.0)
    assert not before
    assert nbytes >= 3 * 640 * 480  # counted before it is there
    assert after == counted < nbytes  # the file is given up


def test_the_store_waits_and_leaves_alone_what_it_has_let_go_of(small):
    data = jpeg(picture(640, 480))

    async def work(store):
        image = (await store.add(data)).image
        store.trim(2**30)
        assert not len(store)
        await asyncio.sleep(0.3)
        return image.scales.is_complete

    assert not run_store(work, complete_after=0.05)


def test_without_memory_the_store_decodes_when_it_is_needed(small):
    data = jpeg(picture(640, 480))
    decoding = Allowance(10, "decoding")

    async def work(store):
        image = (await store.add(data)).image
        decoding.take(5)  # another decoding is in progress
        await asyncio.sleep(0.3)
        assert not image.scales.is_complete
        with pytest.raises(BusyError):
            image.pixels  # noqa: B018
        decoding.give_back(5)
        return image.pixels.shape

    assert run_store(work, 0.0, decoding) == (480, 640, 3)
    assert decoding.used == 0
