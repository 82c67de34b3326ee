"""Configuration files of training runs: TOML, checked as a whole before anything starts.

A file describes one run, or several stages that start from one another:

    [model]
    architecture = "fcn32s"

    [stages.fcn32s]

    [stages.fcn16s]
    model.architecture = "fcn16s"
    schedule.samples = 8_000

Each stage is the common part with its own values put over it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clickcut_train.config import TrainConfig
from clickcut_train.errors import ConfigError
from clickcut_train.old_keys import new_config_keys

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
