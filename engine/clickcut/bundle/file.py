"""A bundle as a file: read and check metadata and seal, without and before an ONNX library.

The *seal* is the SHA-256 of all other bytes of the file. It is one more entry of the model's
`metadata_props`, key `clickcut_sha256`, so a bundle stays one file that any ONNX runtime loads.
If any byte of a sealed bundle changes, the file is rejected before its graph is parsed.

Field numbers are those of onnx.proto; the graph is checked by `clickcut.bundle.graph`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from clickcut.bundle.graph import check_graph
from clickcut.bundle.metadata import METADATA_KEY, BundleMetadata, parse_metadata
from clickcut.bundle.reference import REFERENCE_KEY, ReferenceAnswer, parse_reference
from clickcut.bundle.wire import Budget, Field, encoded_bytes, fields
from clickcut.errors import BundleError
from clickcut.whole_file import whole_file

SEAL_KEY = "clickcut_sha256"
"""Key of the seal in `metadata_props`."""

MAX_BYTES = 2**31 - 1
"""Maximum size of a bundle, bytes: protobuf's limit, which is ONNX's limit for one file."""

MAX_METADATA_BYTES = 2**18
"""Maximum size of all entries of `metadata_props`; a bundle has a few thousand bytes."""

MAX_ENTRIES = 64
"""Maximum number of entries of `metadata_props`."""

MAX_FIELDS = 2**20
"""Maximum number of fields; the default network has a few thousand."""

_GRAPH, _METADATA_PROPS = 7, 14
_KEY, _VALUE = 1, 2


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A bundle that has been read and checked, its graph not yet loaded.

    Attributes:
        path: of the file.
        data: the whole file.
        metadata: of the model.
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
            since its hash file was written, not a clickcut bundle, or its metadata or graph is
            invalid.
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
    """Return the bytes of an ONNX file with its seal; an older seal is replaced.

    Args:
        data: a serialised ONNX model; its metadata is not checked.

    Raises:
        BundleError: not an ONNX model.
    """
    where = Path("model")
    for old in _metadata_props(data, where).get(SEAL_KEY, []):
        # One at a time: positions behind a removed entry move.
        return seal(data[: old.start] + data[old.end :])
    value = hashlib.sha256(data).hexdigest()
    body = encoded_bytes(_KEY, SEAL_KEY.encode()) + encoded_bytes(_VALUE, value.encode())
    return data + encoded_bytes(_METADATA_PROPS, body)


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
    """Return all bytes of a file of at most `limit` bytes.

    Raises:
        BundleError: no such file, too large, or it cannot be read.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such file")
    try:
        size = path.stat().st_size
        if size > limit:
            raise BundleError(f"{path}: {size} bytes, more than the limit of {limit}")
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
            "copy the bundle again, or write the hash file again if the change is intended"
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of `metadata_props` and where its field lies in the file."""

    value: str
    start: int
    end: int


def _metadata_props(data: bytes, path: Path) -> dict[str, list[_Entry]]:
    """Return the metadata entries by key, and check the graph.

    Raises:
        BundleError: it is not an ONNX model, or its metadata or graph is invalid.
    """
    entries: dict[str, list[_Entry]] = {}
    has_graph, count, nbytes = False, 0, 0
    budget = Budget(MAX_FIELDS)
    try:
        for field in fields(data, 0, len(data), budget):
            has_graph = has_graph or field.number == _GRAPH
            if field.number == _METADATA_PROPS:
                count, nbytes = count + 1, nbytes + field.end - field.start
                if count > MAX_ENTRIES:
                    raise ValueError(f"it has more than {MAX_ENTRIES} entries of metadata")
                if nbytes > MAX_METADATA_BYTES:
                    raise ValueError(f"it has more than {MAX_METADATA_BYTES} bytes of metadata")
                key, value = _pair(data, field, budget)
                entries.setdefault(key, []).append(_Entry(value, field.start, field.end))
        if not has_graph:
            raise ValueError("it holds no graph")
        check_graph(data, budget)
    except ValueError as error:
        raise BundleError(f"{path}: not a model that can be loaded ({error})") from error
    return entries


def _pair(data: bytes, entry: Field, budget: Budget) -> tuple[str, str]:
    """Return key and value of an entry; ValueError when one is not a string."""
    pair = {_KEY: "", _VALUE: ""}
    for field in fields(data, entry.body, entry.end, budget):
        pair[field.number] = data[field.body : field.end].decode()
    return pair[_KEY], pair[_VALUE]


def _check_seal(data: bytes, seals: list[_Entry], path: Path) -> str:
    """Return the SHA-256 of the file without its seal."""
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
            "again, or seal it with `clickcut models seal` if the change is intended"
        )
    return found.value
