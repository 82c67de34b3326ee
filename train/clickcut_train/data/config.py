"""Which data to train on: what a configuration file and the command line say."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clickcut_train.errors import DataError

Kind = Literal["voc", "sbd", "coco", "davis", "folder", "shards"]

_STRICT = ConfigDict(extra="forbid", frozen=True)
_NEEDS_SPLITS = ("voc", "sbd", "davis")


class SourceConfig(BaseModel):
    """A data set on disk, or packed shards."""

    model_config = _STRICT
    kind: Kind
    path: str = Field(description="its folder; for shards a folder or the URL of a manifest")
    splits: tuple[str, ...] = Field(default=(), description="of VOC, SBD, DAVIS and COCO")
    weight: float = Field(
        default=1.0, gt=0, le=1000, description="times that a photo is drawn an epoch"
    )
    hold_out: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the photos, chosen by a hash of their names, that is left out",
    )
    held_out: bool = Field(default=False, description="read only the share that is left out")
    window: int = Field(
        default=0,
        ge=0,
        description="shards mixed at a time, where the cache cannot hold all; 0: all",
    )

    @model_validator(mode="after")
    def _splits_fit(self) -> SourceConfig:
        if self.kind in _NEEDS_SPLITS and not self.splits:
            raise ValueError(
                "say which splits to read, for example 'train'; none is taken by itself, so that "
                "a split for measurements is never trained on by accident"
            )
        if self.kind in ("folder", "shards") and self.splits:
            raise ValueError(f"data of the kind {self.kind} have no splits")
        if self.window and self.kind != "shards":
            raise ValueError("window is for shards")
        if self.hold_out and self.kind == "shards":
            raise ValueError("hold_out is for data on disk: hold photos out before they are packed")
        if self.held_out and not self.hold_out:
            raise ValueError("held_out needs hold_out, the share that was left out of training")
        return self

    def __str__(self) -> str:
        splits = ":" + ",".join(self.splits) if self.splits else ""
        part = ""
        if self.hold_out:
            part = f" ({'only' if self.held_out else 'without'} a held-out {self.hold_out:.0%})"
        return f"{self.kind} {self.path}{splits}{part}"


class DataConfig(BaseModel):
    """What is trained on."""

    model_config = _STRICT
    sources: tuple[SourceConfig, ...] = ()
    min_area: int = Field(
        default=400,
        ge=1,
        description="objects with fewer pixels are left out: a click covers most of them",
    )
    max_faulty: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of faulty photos of a source above which reading stops",
    )
    any_ids: bool = Field(
        default=False, description="accept instance ids that are not numbered from 1 in each photo"
    )
    cache: str = Field(
        default="", description="folder for shards from a URL; empty: the user's cache"
    )
    cache_gib: float = Field(default=20.0, gt=0, description="most that the cache holds")


def parse_source(kind: str, text: str) -> SourceConfig:
    """A source as the command line gives it: `PATH`, `PATH:SPLIT,SPLIT`, either with `@WEIGHT`.

    Raises:
        DataError: an unknown kind, a weight that is no number, splits missing.
    """
    if kind not in get_args(Kind):
        raise DataError(f"{kind}: not a kind of data set; there are {', '.join(get_args(Kind))}")
    path, weight, splits = text, "", ""
    if "://" not in text:  # a URL may have both signs of its own
        head, at, tail = text.rpartition("@")
        path, weight = (head, tail) if at and "/" not in tail else (text, "")
        if kind not in ("folder", "shards"):
            head, colon, tail = path.rpartition(":")
            path, splits = (head, tail) if colon else (path, "")
    try:
        return SourceConfig.model_validate(
            {
                "kind": kind,
                "path": path,
                "splits": tuple(name for part in splits.split(",") if (name := part.strip())),
                "weight": weight or 1.0,
            }
        )
    except ValidationError as error:
        reasons = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
        raise DataError(f"--{kind} {text}: {reasons}") from error
