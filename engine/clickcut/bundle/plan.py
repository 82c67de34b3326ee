"""A TensorRT plan as files: `NAME.plan` and, beside it, `NAME.plan.json` with its metadata.

A plan runs only with the TensorRT that built it and only on the kinds of GPU that it was built for;
the JSON says which, so that a plan that cannot run is rejected with a reason.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clickcut.bundle.file import check_hash_file, read_limited
from clickcut.bundle.metadata import BundleMetadata, check_metadata, faults_of
from clickcut.bundle.reference import ReferenceAnswer, check_reference
from clickcut.errors import BackendError, BundleError

PACKAGES = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
"""Python package of each flavour, by the name of its module."""

MAX_SIDECAR_BYTES = 2**20
MAX_PLAN_BYTES = 2**34

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

_Bounds = tuple[
    Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]
]


class Profile(BaseModel):
    """Optimisation profile: minimum, optimum and maximum of each dimension that may vary."""

    model_config = _STRICT
    batch: _Bounds = Field(description="N")
    size: _Bounds = Field(description="S, pixels")

    @model_validator(mode="after")
    def _check_order(self) -> Profile:
        for name, (least, best, most) in (("batch", self.batch), ("size", self.size)):
            if not least <= best <= most <= 4096:
                raise ValueError(f"{name}: expected min <= opt <= max <= 4096")
        return self


class PlanFacts(BaseModel):
    """How a plan was built."""

    model_config = _STRICT
    flavour: Literal["tensorrt", "tensorrt_rtx"] = Field(description="module that built it")
    version: str = Field(pattern=r"^[0-9A-Za-z.+_-]{1,64}$", description="of that module")
    compute_capabilities: tuple[Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")], ...] = Field(
        min_length=1, max_length=32, description="kinds of GPU that it runs on, such as 8.9"
    )
    precision: Literal["fp32", "fp16", "int8"]
    plan_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    profile: Profile


class PlanDescription(BaseModel):
    """The document `NAME.plan.json`."""

    model_config = _STRICT
    metadata: BundleMetadata = Field(description="of the bundle that the plan was built from")
    tensorrt: PlanFacts
    reference: ReferenceAnswer | None = Field(None, description="of that bundle, if it has one")


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that has been read and checked, not yet loaded.

    Attributes:
        path: of the file.
        data: the whole plan.
        metadata: of the bundle that it was built from.
        facts: how it was built.
        reference: the answer that it must give, if it has one.
    """

    path: Path
    data: bytes
    metadata: BundleMetadata
    facts: PlanFacts
    reference: ReferenceAnswer | None


def sidecar_of(path: Path) -> Path:
    """Return the path of the description of a plan."""
    return path.with_name(path.name + ".json")


def read_plan(path: Path) -> Plan:
    """Read a plan and its description.

    Raises:
        BundleError: a file is missing, the description lacks a field or has a wrong one, the plan's
            hash is another, or its profile does not hold the metadata's input size.
    """
    description = read_description(path)
    data = read_limited(path, MAX_PLAN_BYTES)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != description.tensorrt.plan_sha256:
        raise BundleError(
            f"{path}: wrong hash: the plan is damaged, or {sidecar_of(path).name} belongs to "
            "another one; copy both again or build the plan again"
        )
    check_hash_file(path, data)
    return Plan(path, data, description.metadata, description.tensorrt, description.reference)


def read_description(path: Path) -> PlanDescription:
    """Read `NAME.plan.json` of a plan; errors as `read_plan`."""
    beside = sidecar_of(path)
    if path.is_file() and not beside.is_file():
        raise BundleError(f"{path}: {beside.name} is missing beside it; copy both files")
    text = read_limited(beside, MAX_SIDECAR_BYTES).decode("utf-8", "replace")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{beside}: not JSON ({error})") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("tensorrt"), dict):
        raise BundleError(f"{beside}: not the description of a plan (no object 'tensorrt')")
    # Read the metadata first: its error about another version says what to do.
    metadata = check_metadata(raw.get("metadata"), str(beside))
    try:
        facts = PlanFacts.model_validate(raw["tensorrt"])
        description = PlanDescription.model_validate(raw)
    except ValidationError as error:
        raise BundleError(f"{beside}: {faults_of(error)}") from error
    if description.reference is not None:
        check_reference(description.reference, metadata, str(beside))
    least, _, most = facts.profile.size
    if not least <= metadata.input_size <= most:
        raise BundleError(
            f"{beside}: the plan takes {least} to {most} pixels, the model needs "
            f"{metadata.input_size}; build the plan again"
        )
    return description


def check_version(plan: Plan, installed: str) -> None:
    """Check that the installed TensorRT can load a plan.

    Args:
        plan: read.
        installed: version of the flavour's module.

    Raises:
        BackendError: another version built it.
    """
    facts = plan.facts
    if facts.version != installed:
        raise BackendError(
            f"{plan.path}: built by {facts.flavour} {facts.version}, installed is {installed}, and "
            f"plans of another version cannot be loaded: pip install "
            f"'{PACKAGES[facts.flavour]}=={facts.version}', or build the plan again"
        )


def check_capability(plan: Plan, capability: str) -> None:
    """Check that a plan runs on a GPU of this compute capability, such as "8.9".

    Raises:
        BackendError: it was not built for it.
    """
    built_for = plan.facts.compute_capabilities
    if capability not in built_for:
        raise BackendError(
            f"{plan.path}: built for compute capability {', '.join(built_for)}, this GPU has "
            f"{capability}; build the plan again for it"
        )
