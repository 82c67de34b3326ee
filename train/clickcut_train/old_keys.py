"""Names that keys of configurations, checkpoints and bundles had in earlier versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from clickcut_train.errors import ConfigError

V = TypeVar("V")

_SECTIONS = {"optimiser": "optimizer"}
_KEYS = {
    "model": {"trunk": "backbone"},
    "sessions": {"go_on": "next_click_probability"},
    "optimizer": {"rate": "lr", "trunk_rate": "backbone_lr_mult", "average": "ema_decay"},
    "samples": {
        "positive_most": "max_positive",
        "ring_most": "max_in_ring",
        "others_most": "max_on_each_other",
    },
}
_TENSORS = {"trunk.": "backbone."}


def new_config_keys(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Rename the keys of a configuration; those that are not old are left as they are.

    Args:
        document: sections by name, each a table of keys.
        where: the file, for messages.

    Raises:
        ConfigError: a key is given under its old and its new name.
    """
    sections = _renamed(document, _SECTIONS, where)
    for name, names in _KEYS.items():
        if isinstance(table := sections.get(name), Mapping):
            sections[name] = _renamed(table, names, f"{where}: {name}")
    return sections


def _renamed(table: Mapping[str, Any], names: Mapping[str, str], where: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in table.items():
        new = names.get(key, key)
        if new in out:
            raise ConfigError(f"{where}: {new} is given twice, once under an old name")
        out[new] = value
    return out


def new_tensor_names(tensors: Mapping[str, V]) -> dict[str, V]:
    """Rename the tensors of a network, by the names of their modules."""
    return {_new_tensor_name(name): value for name, value in tensors.items()}


def _new_tensor_name(name: str) -> str:
    for old, new in _TENSORS.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
