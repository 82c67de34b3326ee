"""A model bundle: its metadata, the file that holds it, its TensorRT form, folders of models."""

from clickcut.bundle.metadata import (
    BATCH,
    METADATA_KEY,
    METADATA_VERSION,
    BundleMetadata,
    CutDefaults,
    Guidance,
    RegionPolicy,
    bundled_models,
    check_metadata,
    faults_of,
    parse_metadata,
)

__all__ = [
    "BATCH",
    "METADATA_KEY",
    "METADATA_VERSION",
    "BundleMetadata",
    "CutDefaults",
    "Guidance",
    "RegionPolicy",
    "bundled_models",
    "check_metadata",
    "faults_of",
    "parse_metadata",
]
