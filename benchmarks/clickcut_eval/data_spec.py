"""How a data set is written on every command line and in configurations.

    KIND:FOLDER[:SPLIT,...][@WEIGHT]        voc:VOC2012:train@2    grabcut:DATA/grabcut

Imports nothing heavy: command lines show their help from here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from clickcut_eval.errors import DatasetError

FORM = "KIND:FOLDER[:SPLIT,...][@WEIGHT]"
"""For help texts."""

EVALUATED = (
    "grabcut", "berkeley", "voc", "coco_mval_dev", "coco", "sbd", "davis", "clothing_parts",
    "folder",
)  # fmt: skip
"""Kinds that objects can be selected on; see `clickcut_eval.datasets`."""

TRAINED = ("voc", "sbd", "coco", "davis", "folder", "shards")
"""Kinds that can be trained on; see `clickcut_train.data`."""

WITH_SPLITS = ("voc", "sbd", "coco", "davis")

DEFAULT_SPLITS = {"voc": ("val",), "sbd": ("val",)}
"""What an evaluation takes if no split is named; training takes none by itself."""

MAX_WEIGHT = 1000.0


@dataclass(frozen=True)
class DataSpec:
    """A data set, not opened.

    Attributes:
        kind: its format.
        path: its folder; of shards, a folder or the URL of a manifest.
        splits: of kinds in `WITH_SPLITS`.
        weight: times that a photo is drawn in an epoch of training.
    """

    kind: str
    path: str
    splits: tuple[str, ...] = ()
    weight: float = 1.0

    @property
    def folder(self) -> Path:
        """The folder, `~` resolved."""
        return Path(self.path).expanduser()

    @property
    def name(self) -> str:
        """What it is called in results: the kind, and splits other than the default ones."""
        usual = self.splits in ((), DEFAULT_SPLITS.get(self.kind))
        return self.kind if usual else f"{self.kind}:{','.join(self.splits)}"

    @staticmethod
    def named(name: str, folder: str) -> DataSpec:
        """The data set of a `name` and a folder."""
        kind, _, splits = name.partition(":")
        return DataSpec(kind, folder, tuple(splits.split(",")) if splits else ())

    def __str__(self) -> str:
        splits = ":" + ",".join(self.splits) if self.splits else ""
        weight = "" if self.weight == 1 else f"@{self.weight:g}"
        return f"{self.kind}:{self.path}{splits}{weight}"


def parse_spec(text: str, kinds: Collection[str]) -> DataSpec:
    """A data set from its spelling, see the module.

    Args:
        text: what a user wrote.
        kinds: those that fit here.

    Raises:
        DatasetError: another spelling, an unknown kind or a weight that is no number; the message
            has the spelling that is wanted.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in kinds or not rest:
        raise DatasetError(
            f"{text!r} names no data set: write {FORM}, {_suggestion(text, kinds)}; "
            f"kinds are {', '.join(kinds)}"
        )
    if "://" in rest:  # a URL may have both signs of its own
        return DataSpec(kind, rest)
    head, at, tail = rest.rpartition("@")
    path, weight = (head, tail) if at and "/" not in tail else (rest, "1")
    splits = ""
    if kind in WITH_SPLITS and ":" in path:
        path, _, splits = path.rpartition(":")
    return DataSpec(
        kind,
        path,
        tuple(s for part in splits.split(",") if (s := part.strip())),
        _weight(weight, text),
    )


def _suggestion(text: str, kinds: Collection[str]) -> str:
    """How a spelling of earlier versions is written now."""
    name, equals, folder = text.partition("=")
    if equals and name in kinds:
        return f"here {name}:{folder}"
    if "folder" in kinds and (Path(text).expanduser().is_dir() or ":" not in text):
        return f"such as folder:{text or 'FOLDER'}"
    return "such as voc:VOC2012:train"


def _weight(text: str, where: str) -> float:
    try:
        weight = float(text)
    except ValueError as error:
        raise DatasetError(f"{where}: {text!r} after @ is not a number") from error
    if not math.isfinite(weight) or not 0 < weight <= MAX_WEIGHT:
        raise DatasetError(f"{where}: a weight must be above 0 and at most {MAX_WEIGHT:g}")
    return weight


def evaluated(texts: Iterable[str]) -> list[DataSpec]:
    """Data sets to measure on.

    Raises:
        DatasetError: see `parse_spec`; also a weight, or two that would have the same name.
    """
    specs = [parse_spec(text, EVALUATED) for text in texts]
    for spec in specs:
        if spec.weight != 1:
            raise DatasetError(f"{spec}: a weight is for training; leave @{spec.weight:g} out")
    names = [spec.name for spec in specs]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise DatasetError(f"{', '.join(twice)}: given twice; measure them in runs of their own")
    return specs
