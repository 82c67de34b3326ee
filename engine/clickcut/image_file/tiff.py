"""Read the first directory of a TIFF file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clickcut.errors import ImageError
from clickcut.image_file.parts import Alpha, Order, Parts, animated, damaged, number

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_MAX_ENTRIES = 4096
_MAX_PIECES = 2**17
"""Maximum number of strips or tiles."""
_MAX_TILE_SIDE = 2**16
_MIN_TILE_LIMIT = 2**24
"""Maximum pixels of a tile, unless four times those of the image are more."""

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 11: 4, 12: 8, 13: 4, 16: 8}
_TYPE_BYTES |= {5: 8, 10: 8, 17: 8, 18: 8}
_INTEGERS = {1, 3, 4, 16}

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _STRIP_BYTES = 273, 274, 277, 278, 279
_PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 284, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT = 338, 339
_NEEDED = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIP_OFFSETS, _SAMPLES, _ROWS),
    *(_STRIP_BYTES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES),
    _SAMPLE_FORMAT,
    *(266, 292, 293, 317, 320, 332, 338, 347),  # fill order, fax options, predictor, colour map,
    *(512, 513, 514, 519, 520, 521, 529, 530, 531, 532),  # inks, extra samples, JPEG, YCbCr
}
_UNCOMPRESSED, _WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 1, 0, 1, 2
_KINDS: dict[int, Literal["u", "i", "f"]] = {1: "u", 2: "i", 3: "f"}
_MAX_SAMPLES = 16
_DEPTHS = {(10, "u"), (12, "u"), (14, "u"), (16, "u"), (16, "i")}
_DEPTHS |= {(32, "u"), (32, "i"), (32, "f"), (64, "f")}
_STRAIGHT = 2
_ALPHA: dict[int, Alpha] = {0: "ignored", 1: "premultiplied", _STRAIGHT: "straight"}
_PLANES_APART = 2


@dataclass(frozen=True, slots=True)
class _Form:
    """Sizes of the fields of a file: classic TIFF or BigTIFF, of either byte order."""

    order: Order
    big: bool

    @property
    def word(self) -> int:
        """Bytes of an offset and of a count."""
        return 8 if self.big else 4

    @property
    def entry(self) -> int:
        """Bytes of a directory entry."""
        return 4 + 2 * self.word


def read(data: bytes) -> Parts:
    """Rewrite a TIFF file to hold one directory with nothing but what decoding needs.

    Pixels stay where they are; the new directory stands at the end.

    Raises:
        ImageError: damaged, with several pages, or of an unsupported kind.
    """
    form = _Form("little" if data[:1] == b"I" else "big", b"+" in data[:4])
    first = number(data, 8, 8, form.order) if form.big else number(data, 4, 4, form.order)
    entries, following = _directory(data, first, form)
    if following:
        raise animated("TIFF")
    tags = _Tags(data, form, entries)
    width, height = tags.one(_WIDTH), tags.one(_HEIGHT)
    if not width or not height:
        raise damaged("the TIFF file has no size")
    samples = tags.one(_SAMPLES, 1)
    _check_pieces(tags, width, height, samples, len(data))
    bits, kind = _depth(tags)
    inverted = bits > 8 and tags.one(_PHOTOMETRIC, _WHITE_IS_ZERO) == _WHITE_IS_ZERO
    if bits > 8:
        _check_deep(tags, bits, kind, samples)
        if inverted:  # handled here: decoders differ
            tags.set_short(_PHOTOMETRIC, _BLACK_IS_ZERO)
    return Parts(
        "TIFF",
        width,
        height,
        tags.rewritten(),
        _upright(tags.one(_ORIENTATION, 1)),
        light=False,
        bits=bits,
        samples=samples,
        sample_kind=kind,
        inverted=inverted,
        alpha=_ALPHA.get(tags.one(_EXTRA_SAMPLES, _STRAIGHT), "straight"),
    )


def _depth(tags: _Tags) -> tuple[int, Literal["u", "i", "f"]]:
    """Bits per sample and their kind; the largest where channels differ."""
    kind = _KINDS.get(max(tags.some(_SAMPLE_FORMAT, (1,), _MAX_SAMPLES)), "u")
    return max(tags.some(_BITS, (1,), _MAX_SAMPLES)), kind


def _check_deep(tags: _Tags, bits: int, kind: str, samples: int) -> None:
    """Check that an image of more than 8 bits per sample is of a supported kind."""
    what = {"u": "integers", "i": "signed integers", "f": "floating-point numbers"}[kind]
    if (bits, kind) not in _DEPTHS or len(set(tags.some(_BITS, (1,), _MAX_SAMPLES))) > 1:
        raise ImageError(
            f"TIFF images of {bits}-bit {what} are not supported; convert to integers of 8 or 16 "
            "bits, or to 32-bit floating-point numbers"
        )
    if tags.one(_PHOTOMETRIC, _WHITE_IS_ZERO) > _RGB or samples not in (1, 3, 4):
        raise ImageError(
            f"TIFF images of {bits} bits per sample are supported as grey, RGB or RGBA; convert it "
            "or reduce it to 8 bits"
        )
    if samples > 1 and tags.one(_PLANAR, 1) == _PLANES_APART:
        raise ImageError(
            f"TIFF images of {bits} bits whose channels are stored apart (planar configuration 2) "
            "are not supported; store them interleaved"
        )


def _upright(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 1


def _directory(data: bytes, at: int, form: _Form) -> tuple[dict[int, bytes], int]:
    """Return the entries of a directory by tag, and where the next one stands."""
    size = 8 if form.big else 2
    count = number(data, at, size, form.order)
    if count > _MAX_ENTRIES:
        raise damaged(f"a TIFF directory has at most {_MAX_ENTRIES} entries")
    entries: dict[int, bytes] = {}
    for k in range(count):
        begin = at + size + k * form.entry
        tag = number(data, begin, 2, form.order)
        if begin + form.entry > len(data):
            raise damaged("the TIFF directory ends too early")
        entries.setdefault(tag, data[begin : begin + form.entry])
    end = at + size + count * form.entry
    following = number(data, end, form.word, form.order) if end + form.word <= len(data) else 0
    return entries, following


class _Tags:
    """The tags of a directory; the size of each is bounded by that of the file."""

    def __init__(self, data: bytes, form: _Form, entries: dict[int, bytes]) -> None:
        self._data = data
        self._form = form
        self._entries = {
            tag: entry for tag, entry in entries.items() if tag in _NEEDED | {_ORIENTATION}
        }
        total = sum(self._bytes_of(entry)[1] for entry in self._entries.values())
        if total > len(data):
            raise damaged("the tags of the TIFF file are larger than the file")

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def count(self, tag: int) -> int:
        """Return how many values a tag has."""
        if tag not in self._entries:
            return 0
        return number(self._entries[tag], 4, self._form.word, self._form.order)

    def some(self, tag: int, default: tuple[int, ...], limit: int) -> tuple[int, ...]:
        """Return the first values of a tag, at most `limit`.

        Raises:
            ImageError: they are not whole numbers.
        """
        entry = self._entries.get(tag)
        if entry is None:
            return default
        kind = number(entry, 2, 2, self._form.order)
        if kind not in _INTEGERS or not self.count(tag):
            raise damaged(f"TIFF tag {tag} must be a whole number")
        at, size = self._bytes_of(entry)
        each = _TYPE_BYTES[kind]
        source, at = (self._data, at) if at >= 0 else (entry, 4 + self._form.word)
        values = range(min(size // each, limit))
        return tuple(number(source, at + each * k, each, self._form.order) for k in values)

    def one(self, tag: int, default: int = 0) -> int:
        """Return the first value of a tag."""
        return self.some(tag, (default,), 1)[0]

    def set_short(self, tag: int, value: int) -> None:
        """Replace a tag by one small number."""
        order = self._form.order
        word = self._form.word
        head = tag.to_bytes(2, order) + (3).to_bytes(2, order) + (1).to_bytes(word, order)
        self._entries[tag] = head + value.to_bytes(2, order).ljust(word, b"\0")

    def rewritten(self) -> bytes:
        """Return the file with these tags in a directory at its end."""
        form = self._form
        order = form.order
        kept = [entry for tag, entry in sorted(self._entries.items()) if tag in _NEEDED]
        at = len(self._data) + len(self._data) % 2
        if at + form.entry * len(kept) + 32 >= 2 ** (8 * form.word):
            raise ImageError("a TIFF file of 4 GiB is not supported")
        start = 8 if form.big else 4
        return b"".join(
            (
                self._data[:start] + at.to_bytes(form.word, order),
                self._data[start + form.word :],
                bytes(at - len(self._data)),
                len(kept).to_bytes(8 if form.big else 2, order),
                *kept,
                bytes(form.word),
            )
        )

    def _bytes_of(self, entry: bytes) -> tuple[int, int]:
        """Return the offset of the values of an entry (-1: in the entry) and their size, bytes."""
        form = self._form
        kind = number(entry, 2, 2, form.order)
        if kind not in _TYPE_BYTES:
            raise damaged("a TIFF tag of an unknown type")
        size = _TYPE_BYTES[kind] * number(entry, 4, form.word, form.order)
        if size <= form.word:
            return -1, size
        at = number(entry, 4 + form.word, form.word, form.order)
        if at + size > len(self._data):
            raise damaged("a TIFF tag lies outside the file")
        return at, size


def _check_pieces(tags: _Tags, width: int, height: int, samples: int, length: int) -> None:
    """Check that strips or tiles fit the image in number and the file in size."""
    planes = samples if tags.one(_PLANAR, 1) == _PLANES_APART else 1
    offsets, sizes = (
        (_STRIP_OFFSETS, _STRIP_BYTES) if _STRIP_OFFSETS in tags else (_TILE_OFFSETS, _TILE_BYTES)
    )
    if offsets == _STRIP_OFFSETS:
        rows = min(tags.one(_ROWS, height) or height, height)
        needed = -(-height // rows) * planes
    else:
        across, down = tags.one(_TILE_WIDTH), tags.one(_TILE_HEIGHT)
        if not (0 < across <= _MAX_TILE_SIDE and 0 < down <= _MAX_TILE_SIDE):
            raise damaged("the tiles of the TIFF file have no size")
        if across * down > max(_MIN_TILE_LIMIT, 4 * width * height):
            raise damaged("the tiles of the TIFF file are larger than the image")
        needed = -(-width // across) * -(-height // down) * planes
    if needed > _MAX_PIECES or tags.count(offsets) > needed:
        raise damaged(f"the TIFF file has {tags.count(offsets)} strips or tiles")
    if sizes in tags:
        if sum(tags.some(sizes, (), _MAX_PIECES)) > length:
            raise damaged("the strips or tiles of the TIFF file are larger than the file")
    elif tags.one(_COMPRESSION, _UNCOMPRESSED) != _UNCOMPRESSED:
        raise damaged("the strips or tiles of the TIFF file have no size")
