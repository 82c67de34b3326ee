"""Every compared method by name; nothing heavy is imported before a method is built."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickcut_eval.errors import MethodError
from clickcut_eval.methods.base import Method

if TYPE_CHECKING:
    from clickcut_eval.methods.dense_crf import DenseCrf

CLASSICAL = {
    "graph-cut": ("Graph cut", "graph_cut:GraphCut"),
    "geodesic-matting": ("Geodesic matting", "geodesic_matting:GeodesicMatting"),
    "random-walker": ("Random walker", "random_walker:RandomWalker"),
    "euclidean-star": ("Euclidean star convexity", "star:EuclideanStar"),
    "geodesic-star": ("Geodesic star convexity", "star:GeodesicStar"),
    "growcut": ("GrowCut", "growcut:GrowCut"),
    "opencv-grabcut": ("OpenCV GrabCut", "opencv_grabcut:OpenCvGrabCut"),
}
"""Name -> title, and module and class of the methods that need the image alone."""

SEMANTIC = {
    "semantic": ("Semantic FCN + component", "none"),
    "semantic-crf": ("The same + dense CRF, weights set by hand", "hand-set"),
    "semantic-crf-learned": ("The same + CRF learned as layers (CRF-RNN)", "learned"),
}
"""Name -> title, and the CRF that refines the labels."""

OURS = "ours"
NAMES = (*CLASSICAL, "fcn", "fcn-cut", *SEMANTIC, "sam")
"""Names for `--methods`; bundles given with `--bundle NAME=PATH` add NAME and NAME-cut."""


@dataclass(frozen=True)
class MethodSpec:
    """A method and what it is built with: small, picklable, comparable.

    Attributes:
        name: in tables and run directories.
        title: for people.
        kind: a key of `CLASSICAL` or `SEMANTIC`, "ours" or "sam".
        files: role -> path of the files that it needs.
        options: parameters that differ from the method's defaults.
    """

    name: str
    title: str
    kind: str
    files: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, Any], ...] = field(default=())

    def file(self, role: str) -> Path:
        """The path of a file.

        Raises:
            MethodError: it was not given.
        """
        files = dict(self.files)
        if role not in files:
            raise MethodError(f"method {self.name} needs a file: give --{role} PATH")
        return Path(files[role])


def build(spec: MethodSpec, threads: int = 1) -> Method:
    """Make a method.

    Args:
        spec: which one.
        threads: that a network in it may use.

    Raises:
        MethodError: unknown, wrong options, or something is not installed.
        BundleError: its bundle cannot be used.
    """
    if spec.kind in CLASSICAL:
        cls = _classical(spec.kind)
        try:
            method: Method = cls(dataclasses.replace(cls.Parameters(), **dict(spec.options)))
        except TypeError as error:
            known = ", ".join(f.name for f in dataclasses.fields(cls.Parameters))
            raise MethodError(f"{spec.name}: {error}; there are {known}") from error
        return method
    if spec.kind == OURS:
        from clickcut.backends import load_predictor
        from clickcut_eval.methods.engine import EngineMethod

        predictor = load_predictor(spec.file("bundle"), threads)
        return EngineMethod(predictor, predictor.metadata.parameters.changed(**dict(spec.options)))
    if spec.kind in SEMANTIC:
        from clickcut_eval.methods.semantic import Semantic

        return Semantic(spec.file("segmenter"), _crf(spec.kind), threads)
    if spec.kind == "sam":
        from clickcut_eval.methods.sam import Sam

        return Sam(spec.file("encoder"), spec.file("decoder"), threads)
    raise MethodError(f"unknown method {spec.name!r}; there are {', '.join(NAMES)}")


def _crf(kind: str) -> DenseCrf | None:
    from clickcut_eval.methods.dense_crf import DenseCrf

    which = SEMANTIC[kind][1]
    if which == "none":
        return None
    return DenseCrf.learned() if which == "learned" else DenseCrf()


def describe(spec: MethodSpec) -> dict[str, Any]:
    """What a run directory records of a method: all its parameters and the hashes of its files.

    Raises:
        MethodError: a file is missing.
    """
    parameters: dict[str, Any] = {}
    about: dict[str, str] = {}
    if spec.kind in CLASSICAL:
        parameters = dataclasses.asdict(_classical(spec.kind).Parameters())
    elif spec.kind in SEMANTIC:
        crf = _crf(spec.kind)
        parameters = dataclasses.asdict(crf) if crf else {}
    elif spec.kind == OURS:
        from clickcut.backends import load_predictor

        predictor = load_predictor(spec.file("bundle"))
        parameters = dataclasses.asdict(predictor.metadata.parameters)
        model = predictor.metadata
        about = {"model": f"{model.name} {model.version}", "architecture": model.architecture}
    return {
        "title": spec.title,
        "kind": spec.kind,
        "parameters": parameters | dict(spec.options),
        **about,
        "sha256": {role: _hash(Path(path)) for role, path in spec.files},
        "files": {role: str(Path(path).resolve()) for role, path in spec.files},
    }


def described(name: str, description: dict[str, Any]) -> MethodSpec:
    """The method that a description is of, to use it again.

    Raises:
        MethodError: one of its files has changed or gone.
    """
    for role, path in description["files"].items():
        if _hash(Path(path)) != description["sha256"][role]:
            raise MethodError(f"{path}: has changed since {name} was measured with it")
    options = () if description["kind"] in SEMANTIC else tuple(description["parameters"].items())
    files = tuple(description["files"].items())
    return MethodSpec(name, description["title"], description["kind"], files, options)


def choose(
    names: list[str],
    bundle: Path | None,
    bundles: dict[str, Path],
    files: dict[str, Path],
    options: dict[str, dict[str, Any]] | None = None,
) -> list[MethodSpec]:
    """The specs of methods by name.

    Args:
        names: of `NAMES`, or NAME or NAME-cut of a bundle.
        bundle: of `fcn` and `fcn-cut`; the packaged one when None.
        bundles: further bundles by name.
        files: role -> path: segmenter, encoder, decoder.
        options: method -> its parameters that are to differ from the defaults.

    Raises:
        MethodError: an unknown name, or a file that a method needs was not given.
    """
    if bundle is None:
        from clickcut.bundle import bundled_models

        bundle = bundled_models()["default"]
    ours = {"fcn": bundle} | bundles
    out = []
    for name in names:
        plain = name.removesuffix("-cut") if name not in CLASSICAL else name
        if name in CLASSICAL:
            spec = MethodSpec(name, CLASSICAL[name][0], name)
        elif plain in ours:
            snapped = name != plain
            who = "Ours" if plain == "fcn" else plain
            title = f"{who}: FCN + graph cut" if snapped else f"{who}: FCN alone"
            path = (("bundle", str(ours[plain])),)
            spec = MethodSpec(name, title, OURS, path, (("cut", snapped),))
        elif name in SEMANTIC:
            spec = MethodSpec(name, SEMANTIC[name][0], name, _given(files, "segmenter"))
        elif name == "sam":
            spec = MethodSpec(name, "SAM", name, _given(files, "encoder", "decoder"))
        else:
            known = (*NAMES, *bundles, *(f"{b}-cut" for b in bundles))
            raise MethodError(f"unknown method {name!r}; there are {', '.join(known)}")
        changed = dict(spec.options) | (options or {}).get(name, {})
        out.append(dataclasses.replace(spec, options=tuple(changed.items())))
    if strangers := set(options or {}) - set(names):
        raise MethodError(f"parameters for {', '.join(sorted(strangers))}, which is not measured")
    return out


def _given(files: dict[str, Path], *roles: str) -> tuple[tuple[str, str], ...]:
    if missing := [r for r in roles if r not in files]:
        wanted = " and ".join(f"--{r} PATH" for r in missing)
        raise MethodError(f"one of the methods needs files: give {wanted}")
    return tuple((r, str(files[r])) for r in roles)


def _classical(kind: str) -> Any:
    module, _, name = CLASSICAL[kind][1].partition(":")
    return getattr(import_module(f"clickcut_eval.methods.{module}"), name)


@lru_cache
def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise MethodError(f"{path}: cannot be read ({error.strerror})") from error
