"""Every depth and kind of sample, against files written by tifffile or by hand and plain NumPy."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clickcut.errors import ImageError
from clickcut.image_file import Window, decode, examine, render
from clickcut.image_file.tones import PERCENTILES, over_white, shown, window_of

HEIGHT, WIDTH = 23, 34
Samples = NDArray[Any]


def naive_levels(samples: Samples, low: float, high: float) -> Samples:
    """Linear between low and high, by the definition."""
    share = (samples.astype(np.float64) - low) / (high - low)
    return np.rint(255 * np.minimum(np.maximum(share, 0), 1))


def expected(samples: Samples) -> Samples:
    """RGB of samples that are stretched to their percentiles."""
    ordered = np.sort(samples, axis=None)
    at = [round(share / 100 * (ordered.size - 1)) for share in PERCENTILES]
    levels = naive_levels(samples, float(ordered[at[0]]), float(ordered[at[1]]))
    return np.repeat(levels[:, :, None], 3, axis=2) if levels.ndim == 2 else levels


def drawn(dtype: str, channels: int = 1, low: float | None = None, high: float = 4000) -> Samples:
    """Random samples that do not fill their type."""
    kind = np.dtype(dtype).kind
    low = (0 if kind == "u" else -2000) if low is None else low
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    return np.random.default_rng(channels).uniform(low, high, shape).astype(dtype)


def tiff(samples: Samples, **options: Any) -> bytes:
    buffer = io.BytesIO()
    options = {"photometric": "minisblack" if samples.ndim == 2 else "rgb"} | options
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


def png(samples: Samples, colour_type: int, bits: int = 16, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand; samples (H, W) or (H, W, C)."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    if bits == 16:
        lines = [row.astype(">u2").tobytes() for row in rows]
    else:
        each = (rows[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
        lines = [np.packbits(row.astype(np.uint8)).tobytes() for row in each.reshape(height, -1)]

    def chunk(name: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines))
    middle = b"".join(chunk(*c) for c in chunks)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + middle
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


# ---- TIFF


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_deep_tiffs_are_stretched(dtype, compression, channels, order):
    samples = drawn(dtype, channels)
    data = tiff(samples, byteorder=order, compression=compression)
    np.testing.assert_array_equal(decode(data), expected(samples))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_white_is_zero_is_inverted(dtype):
    samples = drawn(dtype)
    decoded = render(examine(tiff(samples, photometric="miniswhite")))
    np.testing.assert_allclose(decoded.pixels, 255 - expected(samples), atol=1)
    assert decoded.window == window_of(samples)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("width", [34, 33])
def test_packed_tiffs_are_stretched(bits, width):
    samples = np.random.default_rng(bits).integers(0, 2**bits, (HEIGHT, width)).astype(np.uint16)
    each = (samples[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    data = np.packbits(each.reshape(HEIGHT, -1).astype(np.uint8), axis=1).tobytes()
    tags = {256: width, 257: HEIGHT, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: HEIGHT}
    tags[279] = len(data)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    file = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    decoded = render(examine(file + struct.pack("<H", len(tags)) + entries + bytes(4)))
    np.testing.assert_array_equal(decoded.pixels, expected(samples))
    assert decoded.window == window_of(samples)  # in the values that are stored


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_tiles_of_16_bits(tile):
    samples = drawn("uint16", 3)
    np.testing.assert_array_equal(decode(tiff(samples, tile=tile)), expected(samples))


@pytest.mark.parametrize(("extra", "name"), [(0, "unspecified"), (2, "unassalpha")])
def test_alpha_of_16_bits(extra, name):
    samples = drawn("uint16", 4, high=65535)
    alpha = samples[:, :, 3:] / 65535 if extra else 1.0
    want = 255 * (1 - alpha) + alpha * expected(samples[:, :, :3])
    np.testing.assert_allclose(decode(tiff(samples, extrasamples=[name])), want, atol=1)


def test_premultiplied_alpha_of_16_bits():
    samples = drawn("uint16", 4, high=65535)
    samples[:, :, :3] = samples[:, :, :3] * (samples[:, :, 3:] / 65535)
    white = 255 * (1 - samples[:, :, 3:] / 65535)
    want = np.minimum(expected(samples[:, :, :3]) + white, 255)
    np.testing.assert_allclose(decode(tiff(samples, extrasamples=["assocalpha"])), want, atol=1)


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (drawn("float16"), {}, "16-bit floating-point numbers are not supported"),
        (drawn("uint64"), {}, "64-bit integers are not supported"),
        (drawn("uint16", 3).transpose(2, 0, 1), {"planarconfig": "separate"}, "stored apart"),
        (drawn("uint16", 4), {"photometric": "separated"}, "taken as grey, RGB or RGBA"),
        (
            drawn("uint16", 2),
            {"photometric": "minisblack", "extrasamples": ["unassalpha"]},
            "taken as grey, RGB or RGBA",
        ),
    ],
    ids=["float16", "uint64", "planes", "cmyk", "grey and alpha"],
)
def test_other_deep_tiffs_are_refused_by_name(samples, options, message):
    with pytest.raises(ImageError, match=message):
        decode(tiff(samples, **options))


def test_numbers_that_are_not_finite_do_not_count():
    samples = drawn("float32")
    samples[0, :3] = np.nan, np.inf, -np.inf
    pixels = decode(tiff(samples))
    assert pixels[0, :3, 0].tolist() == [0, 255, 0]
    assert 100 < pixels[1:].mean() < 155
    with pytest.raises(ImageError, match="no finite numbers"):
        decode(tiff(np.full((4, 4), np.nan, np.float32)))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiffs_of_8_bits_stay_as_they_are(order, compression):
    options: dict[str, Any] = {"byteorder": order, "compression": compression}
    grey, rgb = drawn("uint8", high=100), drawn("uint8", 3, high=100)
    three = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(decode(tiff(grey, **options)), three)
    inverted = decode(tiff(grey, photometric="miniswhite", **options))
    np.testing.assert_array_equal(inverted, 255 - three)
    np.testing.assert_array_equal(decode(tiff(rgb, **options)), rgb)
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    apart = tiff(planes, planarconfig="separate", photometric="rgb", **options)
    np.testing.assert_array_equal(decode(apart), rgb)
    colours = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    palette = tiff(grey, photometric="palette", colormap=colours * 257, **options)
    np.testing.assert_array_equal(decode(palette), colours.T[grey])
    bilevel = tiff(grey > 50, **options)
    np.testing.assert_array_equal(decode(bilevel), np.where(three > 50, 255, 0))


# ---- PNG


@pytest.mark.parametrize("channels", [1, 3])
def test_pngs_of_16_bits_are_stretched(channels):
    samples = drawn("uint16", channels)
    data = png(samples, 0 if channels == 1 else 2)
    np.testing.assert_array_equal(decode(data), expected(samples))


@pytest.mark.parametrize("colour_type", [4, 6])
def test_alpha_of_pngs_of_16_bits(colour_type):
    samples = drawn("uint16", 2 if colour_type == 4 else 4, high=65535)
    alpha = samples[:, :, -1:] / 65535
    colours = samples[:, :, 0] if colour_type == 4 else samples[:, :, :3]
    want = 255 * (1 - alpha) + alpha * expected(colours)
    np.testing.assert_allclose(decode(png(samples, colour_type)), want, atol=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_16_bits(channels):
    samples = drawn("uint16", channels)
    key = np.atleast_1d(samples[5, 7]).astype(">u2").tobytes()
    want = expected(samples)
    want[(samples == samples[5, 7]).reshape(HEIGHT, WIDTH, -1).all(-1)] = 255
    data = png(samples, 0 if channels == 1 else 2, 16, (b"tRNS", key))
    np.testing.assert_array_equal(decode(data), want)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_pngs_of_few_bits_fill_the_range(bits):
    samples = np.random.default_rng(bits).integers(0, 2**bits, (HEIGHT, WIDTH)).astype(np.uint8)
    levels = (samples * (255 // (2**bits - 1)))[:, :, None].repeat(3, 2)
    np.testing.assert_array_equal(decode(png(samples, 0, bits)), levels)
    colours = np.random.default_rng(1).integers(0, 256, (2**bits, 3)).astype(np.uint8)
    palette = png(samples, 3, bits, (b"PLTE", colours.tobytes()))
    np.testing.assert_array_equal(decode(palette), colours[samples])
    clear = png(samples, 3, bits, (b"PLTE", colours.tobytes()), (b"tRNS", b"\0"))
    want = np.where(samples[:, :, None] == 0, 255, colours[samples])
    np.testing.assert_array_equal(decode(clear), want)


# ---- windows


@given(
    st.sampled_from(["uint8", "uint16", "int16", "uint32", "int32", "float32"]),
    st.floats(-40_000, 70_000),
    st.floats(0.01, 70_000),
    st.booleans(),
    st.integers(0, 9),
)
def test_levels_are_linear_within_a_window(dtype, low, width, inverted, seed):
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    ends = (max(info.min, -50_000), min(info.max, 80_000)) if info else (-5e4, 8e4)
    samples = np.random.default_rng(seed).uniform(*ends, (5, 7, 3)).astype(dtype)
    want = naive_levels(samples, low, low + width)
    got = shown(samples, Window(low, low + width), inverted)
    assert got.dtype == np.uint8
    np.testing.assert_allclose(got, 255 - want if inverted else want, atol=inverted)


def test_a_window_is_taken_as_given():
    samples = drawn("uint16")
    decoded = render(examine(tiff(samples)), Window(1000, 1500))
    assert decoded.window == Window(1000, 1500)
    want = naive_levels(samples, 1000, 1500)
    np.testing.assert_array_equal(decoded.pixels, np.repeat(want[:, :, None], 3, axis=2))


def test_a_window_of_8_bits():
    samples = drawn("uint8", 3, high=255)
    assert render(examine(tiff(samples))).window is None
    decoded = render(examine(tiff(samples)), Window(50, 200))
    np.testing.assert_array_equal(decoded.pixels, naive_levels(samples, 50, 200))
    assert decoded.window == Window(50, 200)


@pytest.mark.parametrize(
    "ends", [(1, 1), (2, 1), (float("nan"), 1), (0, float("inf")), (-1e31, 0), (0, 1e300)]
)
def test_an_impossible_window_is_refused(ends):
    with pytest.raises(ImageError, match="a window goes from a low to a higher"):
        Window(*ends)


def test_rare_samples_do_not_set_the_window():
    samples = np.full((100, 100), 500, np.uint16)
    samples[:50] = 700
    samples[0, :5], samples[99, :5] = 65535, 0
    assert window_of(samples) == Window(500, 700)


@pytest.mark.parametrize("value", [0, 1000, -3e20])
def test_an_image_of_one_value_is_black(value):
    samples = np.full((9, 9), value, np.float64)
    assert not shown(samples, window_of(samples)).any()


def test_an_image_of_one_value_nearly_everywhere_keeps_the_rest():
    samples = np.zeros((100, 100), np.uint16)
    samples[3, 4] = 900
    assert window_of(samples) == Window(0, 900)


def test_the_window_of_a_large_image_is_that_of_a_grid_of_its_pixels():
    samples = np.arange(3000 * 2000, dtype=np.uint32).reshape(3000, 2000)
    window = window_of(samples)
    assert window.low == pytest.approx(0.001 * samples.size, rel=0.05)
    assert window.high == pytest.approx(0.999 * samples.size, rel=0.01)


def test_laying_over_white_goes_row_by_row(monkeypatch):
    from clickcut.image_file import tones

    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    alpha = rng.random((9, 7)).astype(np.float32)
    whole = over_white(levels, alpha)
    monkeypatch.setattr(tones, "_PIECE", 21)
    np.testing.assert_array_equal(over_white(levels, alpha), whole)
    np.testing.assert_allclose(whole, 255 - alpha[..., None] * (255.0 - levels), atol=0.51)
