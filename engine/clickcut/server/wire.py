"""A look at a message before it is parsed: parsed, a message can take many times its bytes.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from clickcut.errors import LimitError

MAX_FIELDS = 20_000
"""Fields of one message. Those within its fields are not counted, those of groups are."""

_SMALL = 2**16
"""Bytes that no parser makes much of."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_fields(data: bytes) -> None:
    """Count the fields of a message; what is not well-formed is left to the parser.

    Raises:
        LimitError: there are more than `MAX_FIELDS`.
    """
    if len(data) <= _SMALL:
        return
    at = fields = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _BYTES:
            length, at = _varint(data, at)
            at += length
        elif kind == _VARINT:
            _, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        elif kind > _FIXED32:  # no kind of field
            return
        fields += 1
        if fields > MAX_FIELDS:
            raise LimitError(
                f"a message has more than {MAX_FIELDS:,} fields: send less at a time",
                reason="fields",
            )


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends; past the end when it has no end."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return value, len(data)
