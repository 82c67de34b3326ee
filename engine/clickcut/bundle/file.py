"""A bundle as a file: its metadata and its seal, read without an ONNX library and before one.

The *seal* is the SHA-256 of all other bytes of the file. It is one more entry of the model's
`metadata_props`, key `clickcut_sha256`, so a bundle stays one file that any ONNX runtime loads.
Whatever byte of a sealed bundle changes, the file is refused before a parser of graphs sees it.

Only the outermost layer of the file is decoded here, a run of protobuf fields
(https://protobuf.dev/programming-guides/encoding); field numbers from onnx.proto, `ModelProto`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clickcut.bundle.metadata import METADATA_KEY, BundleMetadata, parse_metadata
from clickcut.bundle.reference import REFERENCE_KEY, ReferenceAnswer, parse_reference
from clickcut.errors import BundleError
from clickcut.whole_file import whole_file

SEAL_KEY = "clickcut_sha256"
"""Key of the seal in `metadata_props`."""

MAX_BYTES = 2**31 - 1
"""Largest bundle: protobuf's limit, which is ONNX's limit for one file."""

_GRAPH, _METADATA_PROPS = 7, 14
_KEY, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A bundle that has been read and checked, its graph not yet loaded.

    Attributes:
        path: where it was.
        data: the whole file.
        metadata: what it says of itself.
        sha256: of the file without its seal, hex; the same before and after sealing.
        sealed: whether it holds a seal, which then is `sha256`.
        reference: the answer that the network must give, if the bundle carries one.
    """

    path: Path
    data: bytes
    metadata: BundleMetadata
    sha256: str
    sealed: bool
    reference: ReferenceAnswer | None


def read_bundle(path: Path) -> BundleFile:
    """Read a bundle; check its seal, its hash file `<path>.sha256` if there is one, its metadata.

    Raises:
        BundleError: no such file, too large, not an ONNX model, changed since it was sealed or
            since its hash file was written, not one of clickcut's, or its metadata are wrong.
    """
    data = read_limited(path)
    entries = _metadata_props(data, path)
    seals = entries.get(SEAL_KEY, [])
    sha256 = _check_seal(data, seals, path)
    check_hash_file(path, data)
    documents = entries.get(METADATA_KEY, [])
    if len(documents) != 1:
        raise BundleError(
            f"{path}: an ONNX model, but not a clickcut bundle (it has {len(documents)} entries "
            f"'{METADATA_KEY}' in its metadata, not 1)"
        )
    metadata = parse_metadata(documents[0].value, str(path))
    return BundleFile(
        path, data, metadata, sha256, bool(seals), _reference(entries, metadata, path)
    )


def _reference(
    entries: dict[str, list[_Entry]], metadata: BundleMetadata, path: Path
) -> ReferenceAnswer | None:
    documents = entries.get(REFERENCE_KEY, [])
    if len(documents) > 1:
        raise BundleError(f"{path}: holds {len(documents)} entries '{REFERENCE_KEY}', not 1")
    return parse_reference(documents[0].value, metadata, str(path)) if documents else None


def seal(data: bytes) -> bytes:
    """The bytes of an ONNX file with its seal, in place of an older one if it had one.

    Args:
        data: a serialised ONNX model; its metadata are not looked at.

    Raises:
        BundleError: not an ONNX model.
    """
    where = Path("model")
    for old in _metadata_props(data, where).get(SEAL_KEY, []):
        # One at a time: positions behind a removed entry move.
        return seal(data[: old.start] + data[old.end :])
    value = hashlib.sha256(data).hexdigest()
    body = _field(_KEY, SEAL_KEY.encode()) + _field(_VALUE, value.encode())
    return data + _field(_METADATA_PROPS, body)


def seal_file(path: Path) -> str:
    """Seal a bundle in place.

    Returns:
        Its seal, hex.

    Raises:
        BundleError: it is not a bundle, or cannot be written.
    """
    data = seal(read_limited(path))
    try:
        with whole_file(path) as file:
            file.write(data)
            file.flush()
            found = read_bundle(Path(file.name))
    except OSError as error:
        raise BundleError(f"{path}: cannot be written ({error.strerror})") from error
    return found.sha256


def read_limited(path: Path, limit: int = MAX_BYTES) -> bytes:
    """All bytes of a file of at most `limit` bytes.

    Raises:
        BundleError: no such file, too large, or it cannot be read.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such file")
    try:
        size = path.stat().st_size
        if size > limit:
            raise BundleError(f"{path}: {size} bytes, more than the {limit} that are taken")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error


def check_hash_file(path: Path, data: bytes) -> None:
    """Compare with the file `<path>.sha256`, in the format of `sha256sum`, if there is one.

    Raises:
        BundleError: it holds another hash, or none.
    """
    beside = path.with_name(path.name + ".sha256")
    if not beside.is_file():
        return
    words = read_limited(beside, 4096).decode("utf-8", "replace").split()
    if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
        raise BundleError(f"{beside}: holds no SHA-256; write it with `sha256sum {path.name}`")
    sha256 = hashlib.sha256(data).hexdigest()
    if words[0].lower() != sha256:
        raise BundleError(
            f"{path}: wrong hash: the file has SHA-256 {sha256}, {beside.name} says {words[0]}; "
            "copy the bundle again, or write the hash file again if the change is meant"
        )


# ---- protobuf


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of `metadata_props` and where its field lies in the file."""

    value: str
    start: int
    end: int


def _metadata_props(data: bytes, path: Path) -> dict[str, list[_Entry]]:
    """The entries by key."""
    entries: dict[str, list[_Entry]] = {}
    has_graph = False
    try:
        for number, start, body, end in _fields(data, 0, len(data)):
            has_graph = has_graph or number == _GRAPH
            if number == _METADATA_PROPS:
                pair = {n: data[b:e].decode() for n, _, b, e in _fields(data, body, end)}
                entry = _Entry(pair.get(_VALUE, ""), start, end)
                entries.setdefault(pair.get(_KEY, ""), []).append(entry)
    except ValueError as error:
        raise BundleError(f"{path}: not a model that can be loaded ({error})") from error
    if not has_graph:
        raise BundleError(f"{path}: not a model that can be loaded (it holds no graph)")
    return entries


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, start of the field, start of its value, its end) of each field in `data[at:end]`.

    Raises:
        ValueError: the bytes are not protobuf, or end within a field.
    """
    while at < end:
        start = at
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        body = at
        if kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind == _BYTES:
            length, body = _varint(data, at, end)
            at = body + length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"byte {start} begins no field")
        if number == 0:
            raise ValueError(f"byte {start} begins no field")
        if at > end:
            raise ValueError(f"it ends at byte {end}, within a field that begins at byte {start}")
        yield number, start, body, at


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


def _field(number: int, body: bytes) -> bytes:
    """A length-delimited field."""
    return _encoded(number << 3 | _BYTES) + _encoded(len(body)) + body


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _check_seal(data: bytes, seals: list[_Entry], path: Path) -> str:
    """The SHA-256 of the file without its seal."""
    if not seals:
        return hashlib.sha256(data).hexdigest()
    if len(seals) > 1:
        raise BundleError(f"{path}: damaged: it holds {len(seals)} seals")
    (found,) = seals
    hashed = hashlib.sha256(memoryview(data)[: found.start])
    hashed.update(memoryview(data)[found.end :])
    if hashed.hexdigest() != found.value:
        raise BundleError(
            f"{path}: wrong hash: the file is damaged or was changed after it was sealed; copy it "
            "again, or seal it with `clickcut models seal` if the change is meant"
        )
    return found.value
