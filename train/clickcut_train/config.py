"""The configuration of a training run: one TOML file, checked as a whole before anything starts.

A file describes one run, or several stages that start from one another:

    [model]
    architecture = "fcn32s"

    [stages.fcn32s]

    [stages.fcn16s]
    model.architecture = "fcn16s"
    schedule.samples = 8_000

Each stage is the common part with its own values put over it. Paths are relative to the folder
that the command runs in.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from clickcut_train.data.config import DataConfig, SourceConfig
from clickcut_train.errors import ConfigError
from clickcut_train.models import ModelConfig
from clickcut_train.models.efficientnet_lite import SCALES
from clickcut_train.old_keys import new_config_keys
from clickcut_train.samples import SampleOptions

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
        if self.samples.damaged and not self.model.previous:
            raise ValueError("samples.damaged needs model.previous: the damaged mask is an input")
        if self.sessions.refine_probability and not self.model.previous:
            raise ValueError(
                "sessions.refine_probability needs model.previous: a closer look starts from it"
            )
        return self


_FIXED = ("model", "data", "samples", "sessions", "loss.teacher", "schedule.batch", "schedule.seed")
"""What a run cannot change when it goes on: another network, or other samples."""


def flat(config: TrainConfig) -> dict[str, Any]:
    """All values by `section.key`, sections in order."""
    sections = config.model_dump(mode="json")
    return {f"{s}.{k}": v for s, values in sections.items() for k, v in values.items()}


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def to_toml(config: TrainConfig) -> str:
    """The whole configuration as a file that `read_stages` reads; each line fits `--set`."""
    values = {k: v for k, v in flat(config).items() if v is not None}
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def check_resumable(old: TrainConfig, new: TrainConfig, folder: str) -> list[str]:
    """What differs from the configuration that a run began with.

    Returns:
        Lines for people.

    Raises:
        ConfigError: the run cannot go on with what differs.
    """
    before, now = flat(old), flat(new)
    changed = [k for k in now if before.get(k) != now[k] and not k.startswith(("output.", "init"))]
    fatal = [k for k in changed if k.startswith(_FIXED)]
    if fatal:
        faults = "\n  ".join(f"{k}: {before.get(k)} -> {now[k]}" for k in fatal)
        raise ConfigError(
            f"{folder} holds a run that began otherwise; give another --out, or undo\n  {faults}"
        )
    return [f"changed since the checkpoint: {k}: {before.get(k)} -> {now[k]}" for k in changed]


@dataclass(frozen=True)
class Stage:
    """A run of a configuration file; `name` is empty when the file has no stages."""

    name: str
    config: TrainConfig


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, tables merged key by key."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _merged(old, value)
        out[key] = value
    return out


def _assignment(text: str) -> dict[str, Any]:
    """`a.b=value` as nested tables; the value is TOML, or a plain string when it is not."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {text}: write it as section.key=value")
    for candidate in (f"{key}={value}", f"{key}='''{value}'''"):
        try:
            return tomllib.loads(candidate)
        except tomllib.TOMLDecodeError:
            continue
    raise ConfigError(f"--set {text}: not a section.key and a value of TOML")


def validated(document: Mapping[str, Any], where: str) -> TrainConfig:
    """Check a whole configuration.

    Raises:
        ConfigError: names `where` and every key at fault.
    """
    try:
        return TrainConfig.model_validate(new_config_keys(document, where))
    except ValidationError as error:
        faults = "\n  ".join(
            f"{'.'.join(map(str, e['loc'])) or 'as a whole'}: {e['msg']}" for e in error.errors()
        )
        raise ConfigError(f"{where}:\n  {faults}") from error


def read_stages(path: Path, assignments: Iterable[str] = ()) -> list[Stage]:
    """Read a configuration file; `assignments` (`section.key=value`) go over it and its stages.

    Raises:
        ConfigError: no such file, not TOML, an unknown key, a wrong value.
    """
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML ({error})") from error
    stages = document.pop("stages", {"": {}})
    document = new_config_keys(document, str(path))
    if not isinstance(stages, dict) or not all(isinstance(s, dict) for s in stages.values()):
        raise ConfigError(f"{path}: stages must be tables, such as [stages.fcn32s]")
    over: dict[str, Any] = {}
    for text in assignments:
        over = _merged(over, new_config_keys(_assignment(text), f"--set {text}"))
    out = []
    for name, stage in stages.items():
        where = f"{path} {name}".strip()
        document_of_stage = _merged(document, new_config_keys(stage, where))
        out.append(Stage(name, validated(_merged(document_of_stage, over), where)))
    return out
