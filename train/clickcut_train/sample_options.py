"""How training samples are drawn: the section `samples` of a recipe."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clickcut_train import clicks


class SampleOptions(BaseModel):
    """How samples are drawn; lengths are pixels of the training crop.

    The defaults are the paper's; `mixed()` is the recipe of the default model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: Literal["paper", "mixed"] = Field(
        default="paper",
        description="clicks that a session starts with: those of section 3.2, or mostly a single "
        "one, as the sessions of corrections need it",
    )
    pairs_per_object: int = Field(
        default=15,
        ge=0,
        description="samples of every object in an epoch; 0: photos are drawn instead",
    )
    area_exponent: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="an object of a photo is drawn with its area to this power; 0: all alike",
    )
    min_area: int = Field(
        default=64, ge=1, description="targets with fewer pixels of the crop are not trained on"
    )
    paste: float = Field(
        default=0.0, ge=0, le=1, description="probability that an object is on another photo"
    )
    zoom: bool = Field(default=False, description="crops around the object as well as whole images")
    zoom_max: float = Field(
        default=2.0, ge=1.2, le=16, description="longest side of such a crop, in sides of the box"
    )
    augment: bool = Field(default=False, description="scale, colour, blur and JPEG damage")
    flip: bool = Field(default=True, description="mirror half of the samples")
    merge: float = Field(
        default=0.0, ge=0, le=1, description="probability that touching objects are one"
    )
    part: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="probability that a part of an object is the target, if it has",
    )
    lobe: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="probability that the target is a part which a neck joins to the rest, if any",
    )
    damaged: float = Field(
        default=0.0, ge=0, le=1, description="probability that a session starts from a damaged mask"
    )
    strategies: tuple[float, float, float] = Field(
        default=(1.0, 1.0, 1.0), description="weights of the negative strategies 1, 2 and 3"
    )
    max_positive: int = Field(default=clicks.MAX_POSITIVE, ge=1, description="N_pos")
    max_in_ring: int = Field(default=clicks.MAX_IN_RING, ge=0, description="N_neg1")
    max_on_each_other: int = Field(default=clicks.MAX_ON_EACH_OTHER, ge=0, description="N_neg2")
    around: int = Field(default=clicks.AROUND, ge=0, description="N_neg3")
    ring_width: int = Field(default=clicks.RING_WIDTH, ge=2, description="d")
    step: int = Field(default=clicks.STEP, ge=1, description="d_step")
    margin: int = Field(default=clicks.MARGIN, ge=1, description="d_margin")

    @model_validator(mode="before")
    @classmethod
    def _old_keys(cls, values: Any) -> Any:
        """`choose` of older configurations and checkpoints."""
        if isinstance(values, dict) and values.get("choose") in ("uniform", "area"):
            values = dict(values)
            values.setdefault("area_exponent", 0.5 if values.pop("choose") == "area" else 0.0)
        return values

    @model_validator(mode="after")
    def _some_strategy_is_used(self) -> SampleOptions:
        if min(self.strategies) < 0 or sum(self.strategies) <= 0:
            raise ValueError("strategies: weights of at least 0, and one of them above 0")
        return self

    @classmethod
    def paper(cls) -> SampleOptions:
        """Section 3.2 and nothing else: whole images, flips, 15 pairs of every object."""
        return cls()

    @classmethod
    def mixed(cls) -> SampleOptions:
        """Single first clicks, zoomed and augmented crops, merged objects: for corrections."""
        return cls(
            first="mixed",
            pairs_per_object=0,
            area_exponent=0.5,
            zoom=True,
            augment=True,
            merge=0.12,
            damaged=0.06,
        )
