"""Which data to train on: what a configuration file and the command line say."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clickcut_eval.data_spec import MAX_WEIGHT, TRAINED, DataSpec, parse_spec
from clickcut_eval.errors import DatasetError
from clickcut_train.errors import DataError

Kind = Literal["voc", "sbd", "coco", "davis", "folder", "shards"]

_STRICT = ConfigDict(extra="forbid", frozen=True)
_NEED_SPLITS = ("voc", "sbd", "davis")


class SourceConfig(BaseModel):
    """A data set on disk, or packed shards."""

    model_config = _STRICT
    kind: Kind
    path: str = Field(description="its folder; for shards a folder or the URL of a manifest")
    splits: tuple[str, ...] = Field(default=(), description="of VOC, SBD, DAVIS and COCO")
    weight: float = Field(
        default=1.0, gt=0, le=MAX_WEIGHT, description="times that a photo is drawn an epoch"
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

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Also accept `KIND:FOLDER[:SPLIT,...][@WEIGHT]`."""
        if not isinstance(value, str):
            return value
        try:
            return dataclasses.asdict(parse_spec(value, TRAINED))
        except DatasetError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _splits_fit(self) -> SourceConfig:
        if self.kind in _NEED_SPLITS and not self.splits:
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
        part = ""
        if self.hold_out:
            part = f" ({'only' if self.held_out else 'without'} a held-out {self.hold_out:.0%})"
        return f"{DataSpec(self.kind, self.path, self.splits)}{part}"


class DataConfig(BaseModel):
    """What is trained on."""

    model_config = _STRICT
    sources: tuple[SourceConfig, ...] = ()
    min_area: int = Field(
        default=400,
        ge=1,
        description="objects with fewer pixels are left out: a click covers most of them",
    )
    several: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of an epoch that is photos with several objects; 0: as the weights say",
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
    cache_gib: float = Field(default=20.0, gt=0, description="maximum size of the cache")


def parse_source(text: str) -> SourceConfig:
    """A source from its spelling on the command line, see `clickcut_eval.data_spec`.

    Raises:
        DataError: another spelling, an unknown kind, a weight that is no number, splits missing.
    """
    try:
        return SourceConfig.model_validate(text)
    except ValidationError as error:
        reasons = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
        raise DataError(f"{text}: {reasons}") from error
