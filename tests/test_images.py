"""Every kind of image file that a client may send: decoded as displayed, or refused by name."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from fakes import picture
from PIL import Image

from clickcut.errors import ImageError
from clickcut.images import ImageLimits, PreparedImage, Window, decode, prepare, prepare_pixels


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_pixels(kind):
    np.testing.assert_array_equal(decode(encoded(picture(), kind)), picture())


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_give_nearly_the_pixels(kind):
    got = decode(encoded(picture(), kind, quality=95)).astype(int)
    assert np.abs(got - picture()).mean() < 6


def test_grey_becomes_rgb():
    grey = picture()[..., 0]
    np.testing.assert_array_equal(decode(encoded(grey)), np.repeat(grey[..., None], 3, 2))


def test_palette_becomes_rgb():
    image = Image.fromarray(picture()).quantize(16)
    np.testing.assert_array_equal(decode(encoded(image)), np.array(image.convert("RGB")))


def test_bilevel_becomes_rgb():
    image = Image.fromarray(picture()).convert("1")
    got = decode(encoded(image))
    assert set(np.unique(got)) == {0, 255}


def test_transparency_is_laid_over_white():
    rgba = np.dstack([picture(), np.full((120, 160), 255, np.uint8)])
    rgba[:60, :, 3] = 0
    got = decode(encoded(rgba))
    assert (got[:60] == 255).all()
    np.testing.assert_array_equal(got[60:], picture()[60:])


def test_cmyk_jpeg_becomes_rgb():
    image = Image.fromarray(picture()).convert("CMYK")
    got = decode(encoded(image, "JPEG", quality=95)).astype(int)
    assert np.abs(got - picture()).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:10, :10] = 255  # the mark belongs in the top-left corner
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = Image.fromarray(upright)
    if undo is not None:
        stored = stored.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = decode(encoded(stored, "JPEG", exif=exif, quality=100))
    assert got.shape == (40, 60, 3)
    assert got[:8, :8].min() > 200
    assert got[12:].max() < 60


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes"),
        (b"hello, this is text", "not an image"),
        (b"%PDF-1.7 not a picture", "not an image"),
    ],
)
def test_what_is_not_an_image_is_refused(data, message):
    with pytest.raises(ImageError, match=message):
        decode(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
def test_truncated_files_are_refused(kind, kept):
    data = encoded(picture(), kind)
    with pytest.raises(ImageError):
        decode(data[: int(len(data) * kept)])


def test_a_flipped_byte_in_a_png_is_noticed():
    data = bytearray(encoded(picture()))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError, match="damaged"):
        decode(bytes(data))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animated_and_multi_page_files_are_refused_by_name(kind):
    frames = [Image.fromarray(picture(seed=s)) for s in range(2)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="animated or multi-page"):
        decode(data)


def test_a_single_frame_gif_is_taken():
    assert decode(encoded(Image.fromarray(picture()).quantize(64), "GIF")).shape == (120, 160, 3)


def test_a_huge_header_is_refused_before_allocation():
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    png = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(header))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
        + struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
    )
    with pytest.raises(ImageError, match="100000 x 100000"):
        decode(png)


def test_limits_are_named():
    with pytest.raises(ImageError, match="at most 10,000 pixels"):
        decode(encoded(picture()), ImageLimits(max_pixels=10_000))
    with pytest.raises(ImageError, match="at most 100"):
        decode(encoded(picture()), ImageLimits(max_bytes=100))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20, 3000), (3000, 20), (1, 500)])
def test_odd_sizes_are_taken(width, height):
    image = np.zeros((height, width, 3), np.uint8)
    assert decode(encoded(image)).shape == (height, width, 3)


def test_prepare_knows_digest_and_size():
    image = prepare(encoded(picture()))
    assert (image.width, image.height) == (160, 120)
    assert len(image.digest) == 64
    assert image.nbytes >= image.pixels.nbytes
    assert prepare(encoded(picture(seed=1))).digest != image.digest


def test_prepare_tells_windows_apart():
    data = encoded(picture())
    plain, seen = prepare(data), prepare(data, window=Window(20, 200))
    assert plain.window is None
    assert seen.window == Window(20, 200)
    assert plain.digest == seen.digest
    assert plain.key != seen.key


def test_prepare_pixels_checks_shape_and_type():
    assert isinstance(prepare_pixels(picture()), PreparedImage)
    for wrong in (picture()[..., 0], picture().astype(float), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(ImageError, match="uint8 RGB"):
            prepare_pixels(wrong)


@pytest.mark.parametrize("size", [(60, 48), (61, 50), (7, 95)])
def test_reduced_images_are_means_of_blocks(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    image = prepare_pixels(pixels)
    direct, chained = image.pyramid.at(6).image, image.pyramid.at(2, 3).image
    assert direct.shape == chained.shape == (-(-size[0] // 6), -(-size[1] // 6), 3)
    whole = size[0] // 6, size[1] // 6
    blocks = pixels[: 6 * whole[0], : 6 * whole[1]].reshape(whole[0], 6, whole[1], 6, 3)
    for reduced in (direct, chained):
        inside = reduced[: whole[0], : whole[1]].astype(float)
        assert np.abs(inside - blocks.mean((1, 3))).max() <= 1
    assert image.pyramid.at(6) is image.pyramid.at(6)
    assert image.pyramid.at(1, 6) is image.pyramid.at(6)
    assert image.pyramid.at(1) is image.edges
