"""MkDocs hook: build the site from the repository as it lies, so relative links are right in both.

MkDocs takes one folder of documents; this lays out links to what belongs to the site in a
temporary one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).resolve().parents[1]
SHOWN = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs",
    "benchmarks/results",
    "proto/clickcut/v1/clickcut.proto",
)

_folder = tempfile.TemporaryDirectory(prefix="clickcut-site-")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the folder of links in place of `docs_dir`."""
    for name in SHOWN:
        link = Path(_folder.name) / name
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(ROOT / name)
    config.docs_dir = _folder.name
    return config
