"""The configuration of a training run, section by section; `config_file` reads and writes it.

Paths are relative to the folder that the command runs in.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from clickcut_train.data.config import DataConfig, SourceConfig
from clickcut_train.models import ModelConfig
from clickcut_train.models.efficientnet_lite import SCALES
from clickcut_train.sample_options import SampleOptions

_STRICT = ConfigDict(extra="forbid", frozen=True)


WeightsKind = Literal[
    "none",
    "mobilenet_v2",
    "deeplab_fused",
    "torchvision_vgg16",
    "keras_vgg16",
    "caffe_vgg16",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "checkpoint",
    "bundle",
]


class InitialConfig(BaseModel):
    """Weights that a run starts from; a stage after the first starts from the one before."""

    model_config = _STRICT
    kind: WeightsKind = Field(default="none", description="'none': random weights")
    path: str = Field(
        default="",
        description="the file; of a bundle the name of a shipped model will do; EfficientNet-Lite "
        "needs none when its package is installed",
    )

    @model_validator(mode="after")
    def _file_is_named(self) -> InitialConfig:
        found = self.kind == "bundle" or self.kind in SCALES
        if not found and (self.kind == "none") != (not self.path):
            raise ValueError("give both kind and path, or kind = 'none' and no path")
        return self


class SessionsConfig(BaseModel):
    """Click sessions that are in progress while a run learns from them (see `lanes`)."""

    model_config = _STRICT
    pool: int = Field(default=192, ge=1, le=100_000, description="sessions in progress at once")
    next_click_probability: float = Field(
        default=0.72,
        ge=0,
        lt=1,
        description="probability that a session goes on with a simulated correction; 0: never",
    )
    refine_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="probability that a correction is followed by a closer look at it, as a bundle "
        "with `region.refine` does",
    )


class LossConfig(BaseModel):
    """What is minimised."""

    model_config = _STRICT
    kind: Literal["focal", "cross_entropy"] = "focal"
    gamma: float = Field(
        default=2.0, ge=0, le=10, description="focusing exponent of the focal loss"
    )
    alpha: float = Field(default=0.5, gt=0, lt=1, description="weight of object against background")
    boundary: float = Field(
        default=0.0, ge=0, description="extra weight of pixels near the outline"
    )
    boundary_reach: int = Field(default=3, ge=1, le=64, description="what near means, pixels")
    teacher: str = Field(
        default="", description="checkpoint whose probabilities are mixed into the target"
    )
    teacher_share: float = Field(
        default=0.5, ge=0, le=1, description="of the teacher in the target"
    )


class ScheduleConfig(BaseModel):
    """How long, in samples (crops times clicks), and how the learning rate goes."""

    model_config = _STRICT
    samples: int = Field(default=110_000, ge=1)
    batch: int = Field(
        default=16, ge=1, le=4096, description="samples of a step, all processes together"
    )
    warmup: int = Field(default=2_000, ge=0, description="samples until the rate is at its height")
    decay: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="last part of the run, in which the rate falls as a cosine",
    )
    until: datetime | None = Field(
        default=None,
        description="local time at which the run ends, if it has not seen all samples by then",
    )
    decay_minutes: float = Field(
        default=20.0, gt=0, description="before `until`, in which the rate falls as a cosine"
    )
    seed: int = Field(default=0, ge=0)


class OptimizerConfig(BaseModel):
    """How weights are changed."""

    model_config = _STRICT
    kind: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0, description="learning rate of the head")
    backbone_lr_mult: float = Field(
        default=0.25, ge=0, description="learning rate of the backbone, relative to the head's"
    )
    weight_decay: float = Field(default=1e-2, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of SGD")
    clip: float = Field(default=5.0, gt=0, description="maximum norm of the gradient")
    ema_decay: float = Field(
        default=0.998,
        ge=0,
        lt=1,
        description="of the exponential moving average of the weights, which is exported",
    )
    frozen_batchnorm: Literal["none", "backbone", "all"] = Field(
        default="none", description="where BatchNorm keeps the statistics of the initial weights"
    )

    @field_validator("frozen_batchnorm", mode="before")
    @classmethod
    def _was_a_switch(cls, value: Any) -> Any:
        return {True: "backbone", False: "none"}[value] if isinstance(value, bool) else value


class ValidationConfig(BaseModel):
    """Clicks per object on held-out objects, through the engine (protocol `deepest`)."""

    model_config = _STRICT
    every: int = Field(default=0, ge=0, description="samples between two validations; 0: none")
    source: SourceConfig | None = None
    objects: int = Field(default=60, ge=1, description="spread evenly over the split")
    target: float = Field(default=0.85, gt=0, lt=1, description="IoU that counts as selected")
    cut: bool = Field(default=False, description="with the graph cut")

    @model_validator(mode="after")
    def _source_is_named(self) -> ValidationConfig:
        if self.every and self.source is None:
            raise ValueError("validation.every needs validation.source")
        return self


class OutputConfig(BaseModel):
    """What a run writes."""

    model_config = _STRICT
    folder: str = Field(
        default="runs/clickcut", description="of the run; a stage has a folder in it"
    )
    checkpoint_seconds: float = Field(default=180, gt=0, description="between two checkpoints")
    log_steps: int = Field(default=50, ge=1, description="between two lines of the log")
    tensorboard: bool = True
    image_steps: int = Field(default=500, ge=1, description="between two pictures in TensorBoard")


class MachineConfig(BaseModel):
    """What a run uses of the machine."""

    model_config = _STRICT
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=0, ge=0, description="of PyTorch on the CPU; 0: one per core")
    workers: int = Field(default=1, ge=1, le=64, description="threads that draw samples ahead")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto", description="auto: bf16 where the device computes in it, else fp32"
    )
    channels_last: bool = True


class TrainConfig(BaseModel):
    """One run, everything resolved."""

    model_config = _STRICT
    model: ModelConfig = ModelConfig()
    initial: InitialConfig = InitialConfig()
    data: DataConfig = DataConfig()
    samples: SampleOptions = SampleOptions()
    sessions: SessionsConfig = SessionsConfig()
    loss: LossConfig = LossConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    validation: ValidationConfig = ValidationConfig()
    output: OutputConfig = OutputConfig()
    machine: MachineConfig = MachineConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> TrainConfig:
        batch, pool = self.schedule.batch, self.sessions.pool
        if pool % batch:
            raise ValueError(
                f"sessions.pool = {pool} must be a multiple of schedule.batch = {batch}"
            )
        if self.data.several and self.samples.pairs_per_object:
            raise ValueError(
                "data.several is a share of photos: it needs samples.pairs_per_object = 0"
            )
        if self.samples.damaged and not self.model.previous:
            raise ValueError("samples.damaged needs model.previous: the damaged mask is an input")
        if self.sessions.refine_probability and not self.model.previous:
            raise ValueError(
                "sessions.refine_probability needs model.previous: a closer look starts from it"
            )
        return self
