"""The recipes that come with the package: configuration files that `--config NAME` finds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clickcut_train.errors import ConfigError

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """A packaged configuration.

    Attributes:
        name: what `--config` takes.
        summary: its first line.
        path: the file.
    """

    name: str
    summary: str
    path: Path


def recipes() -> list[Recipe]:
    """List the packaged recipes by name."""
    return [
        Recipe(path.stem, path.read_text(encoding="utf-8").splitlines()[0].lstrip("# "), path)
        for path in sorted(_FOLDER.glob("*.toml"))
    ]


def find_config(text: str) -> Path:
    """Find a configuration: a file, or a packaged recipe by its name.

    What ends in .toml or has a slash in it is a file; the rest is a name.

    Raises:
        ConfigError: there is no recipe of this name.
    """
    if text.endswith(".toml") or "/" in text:
        return Path(text)
    for recipe in recipes():
        if recipe.name == text:
            return recipe.path
    names = ", ".join(r.name for r in recipes())
    raise ConfigError(f"{text}: no such recipe; there are {names}. A file ends in .toml")
