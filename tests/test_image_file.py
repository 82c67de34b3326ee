"""Image files made to break or to stall a decoder: refused by name, in time bounded by their size.

What is counted here are steps of the decoder (reads, directories, frames), never seconds.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from fakes import picture
from PIL import Image, ImageFile

from clickcut.errors import ImageError
from clickcut.image_file import FORMATS, decode, examine
from clickcut.image_file.exif import orientation_of, orientation_of_xmp


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


def small():
    return picture()[:24, :32]


def exif_blob(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


KINDS = {
    "jpeg": lambda: encoded(small(), "JPEG", exif=exif_blob(6)),
    "jpeg progressive": lambda: encoded(small(), "JPEG", progressive=True),
    "jpeg grey": lambda: encoded(small()[..., 0], "JPEG"),
    "jpeg cmyk": lambda: encoded(Image.fromarray(small()).convert("CMYK"), "JPEG"),
    "png": lambda: encoded(small(), "PNG"),
    "png palette": lambda: encoded(Image.fromarray(small()).quantize(7), "PNG", transparency=2),
    "png 16 bit": lambda: encoded(small()[..., 0].astype(np.uint16) * 200, "PNG"),
    "webp": lambda: encoded(small(), "WEBP", exif=exif_blob(8)),
    "webp lossless": lambda: encoded(small(), "WEBP", lossless=True),
    "bmp": lambda: encoded(small(), "BMP"),
    "gif": lambda: encoded(Image.fromarray(small()).quantize(32), "GIF"),
    "tiff": lambda: encoded(small(), "TIFF"),
    "tiff lzw": lambda: encoded(small(), "TIFF", compression="tiff_lzw"),
    "tiff deflate": lambda: encoded(small(), "TIFF", compression="tiff_adobe_deflate"),
    "tiff jpeg": lambda: encoded(small(), "TIFF", compression="jpeg"),
    "tiff big": lambda: encoded(small(), "TIFF", big_tiff=True),
    "tiff fax": lambda: encoded(
        Image.fromarray(small()).convert("1"), "TIFF", compression="group4"
    ),
    "tiff 16 bit": lambda: encoded(small()[..., 0].astype(np.uint16) * 200, "TIFF"),
}
each_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())


def mutated(data, rng):
    """A file with a few bytes changed, doubled, cut out or cut off, mostly near its beginning."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        span = len(out) if rng.random() < 0.5 else min(len(out), 220)
        at = int(rng.integers(0, max(1, span)))
        what = rng.integers(0, 6)
        size = int(rng.integers(1, 9))
        if what < 2:
            out[at : at + 1] = bytes([rng.integers(0, 256)])
        elif what == 2:
            out[at : at + 4] = struct.pack("<I", rng.choice([0, 1, 2**16, 2**31, 2**32 - 1]))
        elif what == 3:
            out[at:at] = out[at : at + size]
        elif what == 4:
            del out[at : at + size]
        elif len(out) > 8:
            del out[int(rng.integers(4, len(out))) :]
    return bytes(out)


@pytest.mark.filterwarnings("ignore")  # decoders say what is odd about metadata
@each_kind
def test_a_mutated_file_gives_a_picture_or_an_image_error(make):
    data, rng = make(), np.random.default_rng(0)
    assert decode(data).size
    for _ in range(150):
        try:
            pixels = decode(mutated(data, rng))
        except ImageError:
            continue
        assert pixels.ndim == 3
        assert pixels.dtype == np.uint8


@each_kind
def test_metadata_is_left_out(make):
    data = make()
    lean = examine(data)
    again = examine(lean.data)
    assert (again.width, again.height, again.kind) == (lean.width, lean.height, lean.kind)
    assert lean.kind in FORMATS


# ---- TIFF


def tiff(entries, data=b"", following=0, order="<"):
    """A TIFF file of given entries (tag, type, count, value), and where to go on."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    body = b"".join(struct.pack(order + "HHII", *entry) for entry in sorted(entries))
    return (
        head
        + data
        + struct.pack(order + "H", len(entries))
        + body
        + struct.pack(order + "I", following)
    )


def plain_tiff(width=4, height=4, **changes):
    tags = {
        256: (3, 1, width),
        257: (3, 1, height),
        258: (3, 1, 8),
        259: (3, 1, 1),
        262: (3, 1, 1),
        273: (4, 1, 8),
        277: (3, 1, 1),
        278: (3, 1, height),
        279: (4, 1, width * height),
    }
    tags |= {int(tag[1:]): value for tag, value in changes.items()}
    return tiff([(tag, *value) for tag, value in tags.items() if value], bytes(range(16)))


def test_a_tiff_made_here_is_taken():
    assert decode(plain_tiff())[..., 0].ravel().tolist() == list(range(16))


def test_a_tiff_that_points_to_more_directories_is_refused_at_the_first(monkeypatch):
    def scan(*_):
        raise AssertionError("the directories were scanned")

    monkeypatch.setattr(Image, "open", scan)
    data = plain_tiff()
    with pytest.raises(ImageError, match="multi-page TIFF"):
        decode(data[:-4] + struct.pack("<I", 8))


def test_tags_that_share_their_bytes_are_not_all_read():
    """Pillow keeps a copy of every value: 1,000 tags of 1 MB took a gigabyte."""
    size = 2**20
    extra = [(40_000 + k, 7, size, 8) for k in range(1000)]
    tags = [(256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 1, 8), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (278, 3, 1, 4), (279, 4, 1, 16), *extra]
    data = tiff(tags, bytes(size))
    lean = examine(data).data
    assert len(lean) - len(data) < 256
    with Image.open(io.BytesIO(lean)) as opened:
        assert len(dict(opened.tag_v2)) == 7
    assert decode(data).shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_258": (7, 2**31, 8)}, "outside the file|larger than the file"),
        ({"_258": (99, 1, 8)}, "unknown type"),
        ({"_257": (12, 1, 8)}, "whole number"),
        ({"_273": (4, 3, 8)}, "3 strips"),  # each strip would cover all rows again
        ({"_279": (4, 1, 10**6)}, "strips or tiles .* larger than the file"),
        ({"_259": (3, 1, 5), "_279": None}, "have no size"),
        ({"_256": None}, "no size"),
        ({"_273": None, "_279": None, "_324": (4, 1, 8), "_325": (4, 1, 16)}, "tiles .* no size"),
        (
            {
                "_273": None,
                "_279": None,
                "_322": (4, 1, 2**16),
                "_323": (4, 1, 2**16),
                "_324": (4, 1, 8),
                "_325": (4, 1, 16),
            },
            "larger than the image",
        ),
        ({"_277": (4, 1, 2**32 - 1), "_284": (3, 1, 2)}, "strips or tiles"),
        ({"_256": (4, 1, 2**32 - 1)}, "4294967295 x 4"),
    ],
)
def test_a_tiff_that_asks_for_more_than_it_holds_is_refused(changes, message):
    with pytest.raises(ImageError, match=message):
        decode(plain_tiff(**changes))


def test_a_tiff_directory_of_many_entries_is_refused():
    with pytest.raises(ImageError, match="at most 4096 entries"):
        decode(tiff([(256, 3, 1, 4)] * 5000))


# ---- GIF


def test_a_gif_of_many_frames_is_refused_at_the_second(monkeypatch):
    data = encoded(Image.new("P", (4, 4)), "GIF")
    at = data.index(b",")
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(ImageError, match="multi-page GIF"):
        decode(data[:at] + data[at:-1] * 100_000 + b";")


def test_a_gif_of_many_empty_blocks_is_refused(monkeypatch):
    data = encoded(Image.new("P", (4, 4)), "GIF")
    at = data.index(b",")
    with pytest.raises(ImageError, match="million blocks"):
        decode(data[:at] + b"!\xfe" + b"\1x" * (2**20 + 5) + b"\0" + data[at:])


def test_a_gif_keeps_its_transparency():
    image = Image.fromarray(np.tile(np.arange(4, dtype=np.uint8), (4, 1)), "L").convert("P")
    pixels = decode(encoded(image, "GIF", transparency=0))
    assert (pixels[:, 0] == 255).all()


# ---- PNG


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_png_metadata_never_reaches_the_decoder():
    data = encoded(small(), "PNG")
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20)))
    lean = examine(data[:33] + 100 * bomb + data[33:]).data
    assert lean == examine(data).data
    np.testing.assert_array_equal(decode(data[:33] + 100 * bomb + data[33:]), small())


def test_a_png_of_many_chunks_is_refused():
    data = encoded(small(), "PNG")
    with pytest.raises(ImageError, match="more than 131072 chunks"):
        decode(data[:33] + chunk(b"abCd", b"x") * 140_000 + data[33:])


def test_a_second_png_header_is_refused():
    data = encoded(small(), "PNG")
    other = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    with pytest.raises(ImageError, match="one header"):
        decode(data[:33] + other + data[33:])


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_png_is_turned_by_its_exif(orientation):
    data = encoded(small(), "PNG", exif=exif_blob(orientation))
    want = np.rot90(small(), 2 if orientation == 3 else -1)
    np.testing.assert_array_equal(decode(data), want)


# ---- JPEG


def test_a_jpeg_of_many_scans_is_not_light():
    """Each scan passes all pixels, even when it holds a few bytes."""
    data = encoded(np.zeros((2000, 3000, 3), np.uint8), "JPEG", progressive=True)
    assert examine(data).light
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    assert not examine(data[:-2] + scan * 60 + data[-2:]).light
    with pytest.raises(ImageError, match="scans"):
        examine(data[:-2] + scan * 1100 + data[-2:])


def test_jpeg_segments_that_are_not_needed_are_left_out():
    data = encoded(small(), "JPEG")
    extra = b"\xff\xe2" + struct.pack(">H", 60_000) + b"MPF\0" + bytes(59_994)
    lean = examine(data[:2] + 50 * extra + data[2:]).data
    assert len(lean) <= len(data)


def test_the_first_picture_of_a_phones_file_is_taken():
    first, second = (Image.fromarray(picture(seed=seed)) for seed in range(2))
    data = encoded(first, "MPO", save_all=True, append_images=[second], quality=95)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.n_frames == 2
        want = np.asarray(opened.convert("RGB"))
    np.testing.assert_allclose(decode(data), want, atol=2)


def test_a_jpeg_of_many_segments_is_refused():
    data = encoded(small(), "JPEG")
    with pytest.raises(ImageError, match="more than 4096 segments"):
        decode(data[:2] + b"\xff\xfe\0\2" * 5000 + data[2:])


def test_a_jpeg_of_12_bits_is_refused_by_name():
    data = bytearray(encoded(small(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageError, match="12 bits per sample"):
        decode(bytes(data))


def test_opencv_and_pillow_decode_jpegs_alike():
    rng = np.random.default_rng(0)
    for sampling in ("4:4:4", "4:2:0"):
        pixels = rng.integers(0, 256, (37, 53, 3), np.uint8)
        data = encoded(pixels, "JPEG", subsampling=sampling)
        with Image.open(io.BytesIO(data)) as reference:
            np.testing.assert_allclose(decode(data), np.asarray(reference), atol=2)


# ---- WebP and BMP


def test_a_webp_canvas_is_checked_before_it_is_allocated():
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\xff" * 2
    with pytest.raises(ImageError, match="16777216 x 16777216"):
        decode(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body)


def test_bmp_run_lengths_are_not_light():
    data = bytearray(encoded(small()[..., 0], "BMP"))
    assert examine(bytes(data)).light
    data[30:34] = struct.pack("<I", 1)
    assert not examine(bytes(data)).light


def test_a_bmp_from_top_to_bottom_is_taken():
    data = bytearray(encoded(small(), "BMP"))
    data[22:26] = struct.pack("<i", -24)
    np.testing.assert_array_equal(decode(bytes(data)), small()[::-1])


# ---- EXIF


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP"])
def test_orientation_is_that_of_pillow(kind, orientation):
    from PIL import ImageOps

    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(small(), kind, exif=exif_blob(orientation), **options)
    with Image.open(io.BytesIO(data)) as opened:
        want = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    np.testing.assert_allclose(decode(data), want, atol=2)


@pytest.mark.parametrize("blob", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_broken_exif_turns_nothing(blob):
    assert orientation_of(blob) == 1


def test_orientation_of_an_xmp_packet():
    assert orientation_of_xmp(b'<x tiff:Orientation="6"/>') == 6
    assert orientation_of_xmp(b"<tiff:Orientation>3</tiff:Orientation>") == 3
    assert orientation_of_xmp(b"<x/>") == 1


def test_truncated_pictures_are_never_filled_up():
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
