"""The metadata of a model bundle: everything that the engine must know of a model.

A bundle is one ONNX file. The metadata is one JSON document under the key `clickcut` of the file's
`metadata_props`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from clickcut.errors import BundleError, printable
from clickcut.parameters import RANGES, Parameters

BATCH = "batch"
"""Name of the symbolic first dimension of a bundle's input."""

METADATA_KEY = "clickcut"
METADATA_VERSION = 1

MAX_DOCUMENT = 2**16
"""Maximum length of the JSON of a bundle's metadata, characters."""

_MAX_FACTS = 256
_MAX_FAULTS = 5
_MAX_FAULT = 400

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has control characters")
    return text


_Line = Annotated[str, Field(max_length=128), AfterValidator(_check_printable)]
_Text = Annotated[str, Field(max_length=4096), AfterValidator(_check_printable)]
_Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]


def _in_range(name: str) -> Any:
    """Return a field with the range of a session parameter."""
    low, high = RANGES[name]
    return Field(ge=low, le=high)


class Guidance(BaseModel):
    """How clicks are encoded as input channels."""

    model_config = _STRICT
    encoding: Literal["distance", "disc"]
    radius: int = Field(ge=0, le=64, description="of a disc, in network pixels")


class RegionPolicy(BaseModel):
    """How the region follows the selection (see `clickcut.region`)."""

    model_config = _STRICT
    zoom: bool = Field(description="False: the network always sees the whole image")
    expansion: float = Field(ge=1.0, le=4.0, description="region side / selection side")
    min_side: int = Field(ge=16, le=4096, description="minimum side of a region, in image pixels")
    max_aspect: float = Field(
        4.0,
        ge=1.0,
        le=1e5,
        description="maximum longer / shorter side of the first region",
    )
    hold_negative: bool = Field(
        False, description="whether the region must hold clicks on the background"
    )
    closer_below: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="predict again, closer, if the selection needs a region smaller than this "
        "fraction of the present one; 0: never",
    )
    max_looks: int = Field(3, ge=1, le=8, description="looks for one click, closer ones included")
    max_windows: int = Field(
        3,
        ge=0,
        le=6,
        description="windows around the first click in which a small object is looked for; 0: none",
    )
    narrow: float = Field(
        0.0,
        ge=0.0,
        le=16.0,
        description="after a click on the background, first predict on a window around the clicks "
        "on the object that reaches this many times as far as the nearest click on the background, "
        "and use that instead if the object ends inside; 0: never",
    )
    mirror: bool = Field(
        False,
        description="average the prediction with a second one: of the mirror image, with the first "
        "as the previous probability",
    )
    mirror_views: tuple[Annotated[float, Field(ge=1.0, le=4.0)], ...] = Field(
        (1.0,),
        min_length=1,
        max_length=4,
        description="views that `mirror` averages in, one after the other: their sides in sides of "
        "the region; the first, third, ... are mirrored. A further one that is the region itself "
        "is left out",
    )
    mirror_from: int = Field(1, ge=1, le=1000, description="number of the first click for `mirror`")
    mirror_depth: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="only for clicks at least this far from the outline of the selection that they "
        "correct, as a share of the region's side",
    )
    refine: float = Field(
        0.0,
        ge=0.0,
        le=0.9,
        description="predict once more on a crop around the last click with this share of the "
        "region's sides, of at least `min_side` pixels, and blend it in; 0: never",
    )
    refine_from: int = Field(2, ge=1, le=1000, description="number of the first click for `refine`")
    refine_depth: float = Field(0.0, ge=0.0, le=1.0, description="as `mirror_depth`")


class CutDefaults(BaseModel):
    """Default parameters of sessions on this model."""

    model_config = _STRICT
    cut_lambda: float = _in_range("cut_lambda")
    cut_sigma: float = _in_range("cut_sigma")
    seed_radius: float = _in_range("seed_radius")
    threshold: float = _in_range("threshold")


class BundleMetadata(BaseModel):
    """The metadata of a bundle.

    Input: (N, C, S, S) float32 with the channels in the order of `channels`; output: logits
    (N, S, S) float32, whose sigmoid is the probability of object.
    """

    model_config = _STRICT
    metadata_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: _Line
    architecture: _Line
    input_size: int = Field(ge=32, le=2048, multiple_of=32, description="S, pixels")
    channels: tuple[Literal["red", "green", "blue", "positive", "negative", "probability"], ...] = (
        Field(max_length=6)
    )
    guidance: Guidance
    pixel_scale: float = Field(
        ge=1e-6, le=1e6, description="colour channels are pixel * scale + offset"
    )
    pixel_offset: float = Field(ge=-1e6, le=1e6)
    region: RegionPolicy
    cut: CutDefaults
    training: dict[_Line, _Text | _Whole | float] = Field(
        max_length=_MAX_FACTS, description="data, recipe, provenance"
    )
    accuracy: dict[_Line, float] = Field(
        max_length=_MAX_FACTS, description="measured mean clicks, by data set and target"
    )
    checkpoint_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def takes_probability(self) -> bool:
        """Whether the previous probability is an input channel."""
        return "probability" in self.channels

    @property
    def parameters(self) -> Parameters:
        """Default parameters of a session."""
        return Parameters(**self.cut.model_dump())


def faults_of(error: ValidationError) -> str:
    """Return the invalid fields and their errors, in one line of bounded length."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    faults = [
        printable(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}", _MAX_FAULT)
        for e in found[:_MAX_FAULTS]
    ]
    more = len(found) - len(faults)
    return "; ".join([*faults, *([f"and {more} more"] if more else [])])


def parse_metadata(document: str, where: str) -> BundleMetadata:
    """Check the JSON of a bundle.

    Args:
        document: JSON.
        where: file, for messages.

    Raises:
        BundleError: not JSON, an unknown metadata version, a missing, unknown or wrong field; the
            message names `where` and each field.
    """
    if len(document) > MAX_DOCUMENT:
        raise BundleError(
            f"{where}: its clickcut metadata has {len(document)} characters, more than "
            f"{MAX_DOCUMENT}"
        )
    try:
        raw = json.loads(document)
    except (
        ValueError,
        RecursionError,
    ) as error:  # ValueError: also a number of 5000 digits
        raise BundleError(f"{where}: its clickcut metadata is not JSON ({error})") from error
    return check_metadata(raw, where)


def check_metadata(raw: Any, where: str) -> BundleMetadata:
    """Check the metadata of a bundle, parsed from its JSON; errors as `parse_metadata`."""
    version = raw.get("metadata_version") if isinstance(raw, dict) else None
    if version != METADATA_VERSION:
        raise BundleError(
            f"{where}: metadata version {printable(repr(version), 40)}; this engine reads version "
            f"{METADATA_VERSION}: export the checkpoint again or install the clickcut that wrote it"
        )
    try:
        metadata = BundleMetadata.model_validate(raw)
    except ValidationError as error:
        raise BundleError(f"{where}: {faults_of(error)}") from error
    colours = ("red", "green", "blue", "positive", "negative")
    if metadata.channels not in (colours, (*colours, "probability")):
        raise BundleError(
            f"{where}: channels {list(metadata.channels)}; expected {list(colours)}, "
            "optionally followed by 'probability'"
        )
    return metadata


def bundled_models() -> dict[str, Path]:
    """Return the models that come with the package, by name; `default` first."""
    folder = Path(__file__).parents[1] / "models"
    paths = sorted(folder.glob("*.onnx"), key=lambda p: (p.stem != "default", p.stem))
    return {p.stem: p for p in paths}
