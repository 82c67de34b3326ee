"""Change what a bundle says of itself and the size of its input.

A float graph that an older exporter wrote is rewritten as a new one would be: see
`clickcut_export.faster`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from clickcut.bundle import METADATA_KEY, BundleMetadata, check_metadata
from clickcut.bundle.file import read_bundle, seal
from clickcut.bundle.reference import REFERENCE_KEY
from clickcut_export.errors import ExportError
from clickcut_export.faster import faster_on_cpu
from clickcut_export.graph import write_file
from clickcut_export.input_size import check_runs, set_input_size

CHANGEABLE = ("name", "version", "input_size", "region", "cut", "training", "accuracy")
"""Fields that may be changed: the others say what the graph computes."""


def change_metadata(
    bundle: Path, output: Path, assignments: Sequence[str], notes: Mapping[str, Any]
) -> BundleMetadata:
    """Write a copy of a bundle with other metadata, sealed.

    Args:
        bundle: a bundle.
        output: may be the same file.
        assignments: KEY=VALUE, such as `region.refine=0.5`; the value is JSON, or text where the
            field is text or the value is not JSON.
        notes: fields that replace those of the bundle, before the assignments.

    Returns:
        The metadata written.

    Raises:
        BundleError: not a bundle; a key or value that the metadata do not allow.
        ExportError: an assignment that is none, a field that cannot be changed, an input size that
            the graph cannot take, or the file cannot be written.
    """
    found = read_bundle(bundle)
    fields = found.metadata.model_dump(mode="json")
    for key, value in notes.items():
        _set(fields, key, value, "notes")
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ExportError(f"--set {text}: write KEY=VALUE, such as region.refine=0.5")
        _set(fields, key, _parsed(value, _present(fields, key)), f"--set {text}")
    metadata = check_metadata(fields, str(output))
    model = onnx.load_model_from_string(found.data)
    resized = metadata.input_size != found.metadata.input_size
    if resized:
        set_input_size(model, metadata.input_size)
    # An int8 bundle holds the answer of its very graph.
    is_int8 = any(entry.key == REFERENCE_KEY for entry in model.metadata_props)
    rewritten = 0 if is_int8 else faster_on_cpu(model)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = metadata.model_dump_json()
    data = seal(model.SerializeToString(deterministic=True))
    if resized or rewritten:
        check_runs(data, metadata.input_size)
    write_file(output, data)
    return metadata


def _present(fields: dict[str, Any], key: str) -> Any:
    first, dot, rest = key.partition(".")
    value = fields.get(first)
    return value.get(rest) if dot and isinstance(value, dict) else value


def _parsed(value: str, present: Any) -> Any:
    if isinstance(present, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _set(fields: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set `a.b` in nested fields."""
    first, dot, rest = key.partition(".")
    if first not in CHANGEABLE:
        raise ExportError(
            f"{where}: {first!r} cannot be changed in a bundle; {', '.join(CHANGEABLE)} can"
        )
    if not dot:
        fields[first] = value
    elif isinstance(fields[first], dict):
        fields[first] = fields[first] | {rest: value}
    else:
        raise ExportError(f"{where}: {first!r} has no parts")
