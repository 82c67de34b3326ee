"""A project of Label Studio for clicks: its labelling configuration, and the backend registered."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from clickcut_label_studio.errors import LabelStudioError
from clickcut_label_studio.labelling import parse
from clickcut_label_studio.settings import Shape
from clickcut_label_studio.studio import LabelStudio

COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
    "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
)  # fmt: skip
HOTKEYS = "123456789"

_WITHOUT_PREDICTIONS = {
    "evaluate_predictions_automatically": False,
    "show_collab_predictions": False,
}
"""Otherwise every task that is opened asks for an answer before there is a click."""


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """How Label Studio reaches the backend.

    Attributes:
        url: as seen from Label Studio.
        user: "" for no authentication.
        password: that goes with it.
    """

    url: str
    user: str = ""
    password: str = ""


def configuration(labels: Sequence[str], shape: Shape) -> str:
    """A labelling configuration: clicks and boxes that are sent to the backend, and its answers.

    Args:
        labels: of objects.
        shape: of answers.

    Raises:
        LabelStudioError: no label, one that is empty, or one twice.
    """
    if not labels or any(not label.strip() for label in labels):
        raise LabelStudioError("name at least one label, and none that is empty")
    if len(set(labels)) != len(labels):
        raise LabelStudioError("a label is given twice")
    plain, keyed = (
        "".join(
            f"    <Label value={quoteattr(label)} background={quoteattr(COLOURS[n % len(COLOURS)])}"
            + (f' hotkey="{HOTKEYS[n]}"' if with_key and n < len(HOTKEYS) else "")
            + "/>\n"
            for n, label in enumerate(labels)
        )
        for with_key in (False, True)
    )
    tag = "BrushLabels" if shape == "brush" else "PolygonLabels"
    return (
        "<View>\n"
        '  <KeyPointLabels name="click" toName="image" smart="true" smartOnly="true">\n'
        f"{keyed}"
        "  </KeyPointLabels>\n"
        '  <Image name="image" value="$image" zoom="true" zoomControl="true"/>\n'
        f'  <{tag} name="mask" toName="image" smart="false">\n'
        f"{plain}"
        f"  </{tag}>\n"
        "</View>\n"
    )


def create(
    studio: LabelStudio, title: str, labels: Sequence[str], shape: Shape, backend: BackendAddress
) -> int:
    """Create a project and register the backend in it; all or nothing.

    Args:
        studio: where.
        title: of the project.
        labels: of objects.
        shape: of answers.
        backend: to register.

    Returns:
        The project's id.

    Raises:
        LabelStudioError: Label Studio refuses; there is no project then.
    """
    config = configuration(labels, shape)
    parse(config).check()
    studio.check()
    document = {"title": title, "label_config": config, **_WITHOUT_PREDICTIONS}
    project = _id_of(studio.call("POST", "/api/projects", document), "project")
    try:
        register(studio, project, backend)
    except BaseException:
        with contextlib.suppress(LabelStudioError):
            studio.call("DELETE", f"/api/projects/{project}")
        raise
    return project


def adopt(
    studio: LabelStudio,
    project: int,
    labels: Sequence[str],
    shape: Shape,
    backend: BackendAddress,
) -> None:
    """Set up a project that is there and register the backend in it; all or nothing.

    Args:
        studio: where.
        project: its id.
        labels: of objects, for a project without a labelling configuration; else none.
        shape: of answers.
        backend: to register.

    Raises:
        LabelStudioError: Label Studio refuses, or the project has a configuration already and
            labels were given.
        TaskError: the configuration that it has lacks something.
    """
    found = studio.call("GET", f"/api/projects/{project}")
    before = {key: found[key] for key in ("label_config", *_WITHOUT_PREDICTIONS) if key in found}
    config = str(before.get("label_config", ""))
    if labels:
        if not _is_empty(config):
            raise LabelStudioError(
                f"project {project} has a labelling configuration already; leave out --label to "
                "register the backend with it"
            )
        config = configuration(labels, shape)
    parse(config).check()
    changes = {"label_config": config, **_WITHOUT_PREDICTIONS}
    studio.call("PATCH", f"/api/projects/{project}", changes)
    try:
        register(studio, project, backend)
    except BaseException:
        with contextlib.suppress(LabelStudioError):
            studio.call("PATCH", f"/api/projects/{project}", before)
        raise


def _is_empty(config: str) -> bool:
    """Whether a labelling configuration has no tags, as that of a new project."""
    try:
        return not len(ElementTree.fromstring(config or "<View/>"))
    except ElementTree.ParseError:
        return False


def register(studio: LabelStudio, project: int, backend: BackendAddress) -> int:
    """Register the backend in a project that is there, or bring its entry up to date.

    Args:
        studio: where.
        project: its id.
        backend: to register.

    Returns:
        The id of the entry.

    Raises:
        LabelStudioError: Label Studio refuses, or does not reach the backend.
    """
    document: dict[str, Any] = {
        "project": project,
        "url": backend.url,
        "title": "clickcut",
        "is_interactive": True,
        "auth_method": "BASIC_AUTH" if backend.user else "NONE",
    }
    if backend.user:
        document |= {"basic_auth_user": backend.user, "basic_auth_pass": backend.password}
    there = studio.call("GET", f"/api/ml?project={project}")
    for entry in there if isinstance(there, list) else []:
        if isinstance(entry, dict) and entry.get("url") == backend.url:
            number = _id_of(entry, "backend")
            studio.call("PATCH", f"/api/ml/{number}", document)
            return number
    return _id_of(studio.call("POST", "/api/ml", document), "backend")


def _id_of(document: object, what: str) -> int:
    found = document.get("id") if isinstance(document, dict) else None
    if not isinstance(found, int):
        raise LabelStudioError(f"Label Studio gave no id of the {what}")
    return found
