"""Read fields of serialised protobuf messages in place, without a schema or a copy.

https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass(slots=True)
class Budget:
    """The number of fields that may still be read; shared by all readers of one file.

    Attributes:
        fields: remaining.
    """

    fields: int

    def spend(self) -> None:
        """Count one field.

        Raises:
            ValueError: the budget is exhausted.
        """
        if self.fields <= 0:
            raise ValueError("it has too many fields")
        self.fields -= 1


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message and where it lies.

    Attributes:
        number: of the schema.
        kind: wire type.
        start: of the field.
        body: of its value; for `BYTES` behind the length.
        end: of the field.
        value: of a `VARINT`; of `BYTES` the length; else 0.
    """

    number: int
    kind: int
    start: int
    body: int
    end: int
    value: int


def fields(data: bytes, at: int, end: int, budget: Budget) -> Iterator[Field]:
    """Yield the fields of the message in `data[at:end]`.

    Raises:
        ValueError: the bytes are not protobuf, end within a field, or hold more fields than the
            budget has left.
    """
    while at < end:
        budget.spend()
        start = at
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        body, value = at, 0
        if kind == VARINT:
            value, at = _varint(data, at, end)
        elif kind == BYTES:
            value, body = _varint(data, at, end)
            at = body + value
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"byte {start} begins no field")
        if number == 0:
            raise ValueError(f"byte {start} begins no field")
        if at > end:
            raise ValueError(f"it ends at byte {end}, within a field that begins at byte {start}")
        yield Field(number, kind, start, body, at, value)


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= end:
            raise ValueError(f"it ends at byte {end}, within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number before byte {at} is too long")


def encoded_bytes(number: int, body: bytes) -> bytes:
    """Encode a field of kind `BYTES`."""
    return _encoded_varint(number << 3 | BYTES) + _encoded_varint(len(body)) + body


def _encoded_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
