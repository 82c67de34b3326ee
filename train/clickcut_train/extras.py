"""Packages that are installed with an extra only."""

from __future__ import annotations

from functools import partial

from clickcut.installation import require as _require

require = partial(_require, "train")
"""Check that modules of the extra `train` are there, see `clickcut.installation.require`."""
