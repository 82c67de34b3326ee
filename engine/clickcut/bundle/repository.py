"""Find models: bundled with the package, single files, and in repositories.

A *repository* is a folder of models, `NAME/VERSION.onnx` or `NAME/VERSION.plan` (with
`VERSION.plan.json` beside it). NAME and VERSION are those of its metadata. Beside each may
lie a hash file, `VERSION.onnx.sha256`, as `sha256sum` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clickcut.backends import DEFAULT_BACKENDS, takes
from clickcut.bundle.file import read_bundle
from clickcut.bundle.metadata import BundleMetadata, bundled_models
from clickcut.bundle.plan import read_plan
from clickcut.errors import BundleError


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that has been read and checked, as far as possible without its back-end.

    Attributes:
        path: of the bundle or plan.
        metadata: of the model.
        sha256: of the file, a bundle's seal left out; hex.
        protected: whether a changed byte is detected: it is sealed, or a plan, or has a hash
            file.
        nbytes: of the file.
    """

    path: Path
    metadata: BundleMetadata
    sha256: str
    protected: bool
    nbytes: int


def read_model(path: Path) -> ModelFile:
    """Read a bundle or a plan.

    Raises:
        BundleError: see `read_bundle` and `read_plan`.
    """
    if path.suffix == ".plan":
        plan = read_plan(path)
        return ModelFile(path, plan.metadata, plan.facts.plan_sha256, True, len(plan.data))
    bundle = read_bundle(path)
    protected = bundle.sealed or path.with_name(path.name + ".sha256").is_file()
    return ModelFile(path, bundle.metadata, bundle.sha256, protected, len(bundle.data))


def check_place(path: Path, folder: Path | None, metadata: BundleMetadata) -> None:
    """Check that a model of a repository lies at the path given by its name and version.

    Args:
        path: of the model.
        folder: the repository; None or another folder: any path is valid.
        metadata: of the model.

    Raises:
        BundleError: it does not.
    """
    if folder is None or path.parent.parent != folder:
        return
    place, said = (path.parent.name, path.stem), (metadata.name, metadata.version)
    if place != said:
        raise BundleError(
            f"{path}: lies where {'@'.join(place)} belongs, but its metadata says "
            f"{'@'.join(said)}; its place is {metadata.name}/{metadata.version}{path.suffix}"
        )


def find_models(names: Sequence[str], folder: Path | None = None, backend: str = "") -> list[Path]:
    """Return the files of models, in the order requested.

    Args:
        names: each `NAME` (all its versions, the newest first) or `NAME@VERSION` of the repository,
            the name of a bundled model, or a path. None: the whole repository, `default` first; or
            all bundled models if there is no repository.
        folder: a repository.
        backend: for which; "" = any, and a bundle is preferred to a plan of the same version.

    Raises:
        BundleError: there is no such model, or none at all.
    """
    stored = _stored(folder, backend) if folder is not None else {}
    if names:
        return [path for name in names for path in _find(name, stored)]
    if folder is None:
        found = list(bundled_models().values())
        advice = "no model comes with this installation: give --model PATH"
    else:
        found = [path for versions in stored.values() for path in versions]
        advice = f"{folder}: holds no model; put them there as NAME/VERSION.onnx"
    if not found:
        raise BundleError(advice)
    return found


def _find(name: str, stored: dict[str, list[Path]]) -> list[Path]:
    wanted, _, version = name.partition("@")
    paths = [p for p in stored.get(wanted, []) if version in ("", p.stem)]
    if paths:
        return paths
    bundled = bundled_models()
    if name in bundled:
        return [bundled[name]]
    path = Path(name)
    if not path.is_file():
        known = [f"{n}@{p.stem}" for n, versions in stored.items() for p in versions]
        known = known or list(bundled)
        raise BundleError(
            f"{name}: no such file, and no model of this name; there are "
            f"{', '.join(known) or 'none'}"
        )
    return [path]


def _stored(folder: Path, backend: str) -> dict[str, list[Path]]:
    """Return the files of a repository by name, `default` first, newest versions first."""
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder")
    found: dict[tuple[str, str], Path] = {}
    for suffix in DEFAULT_BACKENDS:  # bundles first
        for path in sorted(folder.glob(f"*/*{suffix}")):
            if takes(backend or DEFAULT_BACKENDS[suffix], path) and path.name[0] != ".":
                found.setdefault((path.parent.name, path.stem), path)
    stored: dict[str, list[Path]] = {}
    for (name, _), path in found.items():
        stored.setdefault(name, []).append(path)
    for paths in stored.values():
        paths.sort(key=lambda p: version_key(p.stem), reverse=True)
    return dict(sorted(stored.items(), key=lambda item: (item[0] != "default", item[0])))


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key of a version: 1.10 comes after 1.9, and 2 after 2-rc1."""
    parts = re.findall(r"\d+|[^\d.]+", version)
    numbered = [(1, int(p), "") if p.isdecimal() else (-1, 0, p) for p in parts]
    return (*numbered, (0, 0, ""))
