"""The manifest of packed data: what the shards hold, how they were made, their sizes and hashes."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clickcut_train.errors import DataError

FILE_NAME = "manifest.json"
MAX_BYTES = 256 * 2**20
"""Largest manifest that is read; one of a million photos has about 10 MiB."""

_STRICT = ConfigDict(extra="forbid", frozen=True)


class PackOptions(BaseModel):
    """How photos are packed."""

    model_config = _STRICT
    long_side: int = Field(
        default=480, ge=64, le=8192, description="larger photos are scaled down to it, pixels"
    )
    quality: int = Field(default=90, ge=1, le=100, description="of JPEGs that are encoded again")
    min_area: int = Field(
        default=400, ge=1, description="packed pixels below which an object is left out"
    )
    shard_mib: float = Field(default=256.0, gt=0, description="maximum size of a shard")
    seed: int = Field(default=0, ge=0, description="of the order in which photos are packed")


class PackedSource(BaseModel):
    """A data set that was packed."""

    model_config = _STRICT
    kind: str
    name: str
    splits: tuple[str, ...] = ()
    weight: float = Field(gt=0)
    photos: int = Field(ge=0)
    objects: int = Field(ge=0)
    faulty: int = Field(ge=0)
    without_object: int = Field(ge=0)
    faulty_objects: int = Field(ge=0)
    small_objects: int = Field(ge=0)


class Shard(BaseModel):
    """A tar file."""

    model_config = _STRICT
    name: str = Field(pattern=r"^shard-\d{6}\.tar$")
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    objects_of_photo: tuple[int, ...] = Field(
        min_length=1, description="instances of each photo, in the order of the file"
    )
    source_of_photo: tuple[int, ...] = Field(
        min_length=1, description="number of the source that each photo comes from"
    )


class Manifest(BaseModel):
    """What `manifest.json` says."""

    model_config = _STRICT
    format: Literal["clickcut-shards-1"] = "clickcut-shards-1"
    photos: int = Field(ge=1)
    objects: int = Field(ge=1)
    bytes: int = Field(ge=1)
    options: PackOptions
    sources: tuple[PackedSource, ...] = Field(min_length=1)
    shards: tuple[Shard, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _adds_up(self) -> Manifest:
        counts = [n for shard in self.shards for n in shard.objects_of_photo]
        sources = [n for shard in self.shards for n in shard.source_of_photo]
        if any(len(s.objects_of_photo) != len(s.source_of_photo) for s in self.shards):
            raise ValueError("a shard lists objects and sources of different numbers of photos")
        if (len(counts), sum(counts)) != (self.photos, self.objects):
            raise ValueError("the shards have other photos and objects than the whole")
        if min(counts) < 1 or min(sources) < 0 or max(sources) >= len(self.sources):
            raise ValueError("a photo without an object or from an unknown source")
        if sum(s.bytes for s in self.shards) != self.bytes:
            raise ValueError("the shards have other sizes than the whole")
        if len({s.name for s in self.shards}) != len(self.shards):
            raise ValueError("two shards have the same name")
        return self

    def text(self) -> str:
        """The file: JSON with a line for each shard."""
        head = self.model_dump(mode="json")
        lines = ",\n  ".join(json.dumps(shard) for shard in head.pop("shards"))
        return f'{json.dumps(head, indent=1)[:-2]},\n "shards": [\n  {lines}\n ]\n}}\n'


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Check a manifest.

    Raises:
        DataError: too large, not JSON, of another format, or contradicting itself.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"{where}: more than {MAX_BYTES:,} bytes; is it a manifest?")
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{where}: not a manifest of `clickcut train pack` ({place} {first['msg']})"
        ) from error
