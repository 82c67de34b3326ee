"""Labelling configurations: the XML that says what a project shows and which tools it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from clickcut_label_studio.errors import TaskError
from clickcut_label_studio.settings import Shape

MAX_CHARACTERS = 2**20
MAX_TAGS = 20_000

TOOLS = {"keypointlabels": "KeyPointLabels", "rectanglelabels": "RectangleLabels"}
"""Tags whose regions are prompts, by the type of region that they make."""

ANSWERS: dict[str, Shape] = {"brushlabels": "brush", "polygonlabels": "polygon"}
"""Tags whose regions are answers."""


@dataclass(frozen=True, slots=True)
class ImageTag:
    """An `<Image>`.

    Attributes:
        key: of the task's data that holds the URL, or the list of them.
        is_list: whether it is a list, one image per page.
    """

    key: str
    is_list: bool


@dataclass(frozen=True, slots=True)
class Tool:
    """A tag that makes regions on an image.

    Attributes:
        name: of the tag, `from_name` of its regions.
        image: name of the image's tag, `to_name` of its regions.
        kind: type of its regions, such as `keypointlabels`.
        labels: its labels; None when they come with each task.
        is_smart: whether its regions are sent to the backend.
    """

    name: str
    image: str
    kind: str
    labels: frozenset[str] | None
    is_smart: bool

    def has(self, label: str) -> bool:
        """Whether it has a label."""
        return self.labels is None or label in self.labels


@dataclass(frozen=True, slots=True)
class Labelling:
    """What a labelling configuration has for clicks on images.

    Attributes:
        images: by name.
        prompts: tools for clicks and boxes, by name.
        answers: tags of brush and polygon regions, in order.
    """

    images: dict[str, ImageTag]
    prompts: dict[str, Tool]
    answers: tuple[Tool, ...]

    def check(self) -> None:
        """See that clicks can be made and answered.

        Raises:
            TaskError: something is missing; says what to add.
        """
        if not self.images:
            raise TaskError("the labelling configuration has no <Image>; this backend needs one")
        smart = [tool for tool in self.prompts.values() if tool.is_smart]
        if not smart:
            raise TaskError(
                "the labelling configuration has no smart tool; add <KeyPointLabels "
                'name="click" toName="image" smart="true"> with a <Label> for each label'
            )
        for image in self.images:
            points = [t.name for t in smart if t.image == image and t.kind == "keypointlabels"]
            if len(points) > 1:
                raise TaskError(_two_tools(points))
        for tool in smart:
            if not any(answer.image == tool.image for answer in self.answers):
                raise TaskError(
                    f"the labelling configuration has no tag for answers on {tool.image!r}; add "
                    f'<BrushLabels name="mask" toName="{tool.image}"> with the labels of '
                    f"{tool.name!r}"
                )
            for label in sorted(tool.labels or ()):
                self.answer(tool.image, label, "brush")

    def prompt_tool(self, names: set[str]) -> Tool:
        """The tool that made the regions of a request.

        Raises:
            TaskError: there are two, or the configuration does not have it.
        """
        kinds = [self.prompts[name].kind for name in names if name in self.prompts]
        if kinds.count("keypointlabels") > 1:
            raise TaskError(_two_tools(sorted(names)))
        for name in sorted(names):
            tool = self.prompts.get(name)
            if tool is None or tool.image not in self.images:
                raise TaskError(
                    f"the labelling configuration has no tool {name!r} on an image for clicks"
                )
        if len({self.prompts[name].image for name in names}) > 1:
            raise TaskError("clicks on several images at once; accept the object first")
        return self.prompts[min(names)]

    def answer(self, image: str, label: str, shape: Shape) -> Tool:
        """The tag for an answer.

        Args:
            image: name of the image's tag.
            label: of the object.
            shape: that is preferred where there are tags for both.

        Raises:
            TaskError: no tag for this image has the label.
        """
        on_image = [tool for tool in self.answers if tool.image == image]
        having = [tool for tool in on_image if tool.has(label)]
        if not having:
            names = " or ".join(repr(tool.name) for tool in on_image) or "an added BrushLabels"
            raise TaskError(
                f"the labelling configuration lacks the label {label!r} for answers; add "
                f"<Label value={quoteattr(label)}/> to {names}"
            )
        return min(having, key=lambda tool: ANSWERS[tool.kind] != shape)


def _two_tools(names: list[str]) -> str:
    listed = " and ".join(repr(name) for name in names)
    return (
        f"the clicks of two keypoint tools, {listed}, cannot be told apart; keep one "
        "<KeyPointLabels> with all labels for each image"
    )


@lru_cache(maxsize=64)
def parse(config: str) -> Labelling:
    """Read a labelling configuration.

    Args:
        config: XML, from outside.

    Raises:
        TaskError: it is no XML, or of a size that none has.
    """
    if len(config) > MAX_CHARACTERS:
        raise TaskError(f"the labelling configuration has more than {MAX_CHARACTERS:,} characters")
    if "<!" in config.replace("<!--", ""):
        raise TaskError("the labelling configuration has a document type; remove it")
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError as error:
        raise TaskError(f"the labelling configuration is not XML ({error})") from error
    images: dict[str, ImageTag] = {}
    prompts: dict[str, Tool] = {}
    answers: list[Tool] = []
    for tag in _tags(root):
        kind, name = tag.tag.lower(), tag.get("name", "")
        if kind == "image":
            value = tag.get("value", "") or tag.get("valueList", "")
            images[name] = ImageTag(value.removeprefix("$"), not tag.get("value"))
        elif kind in TOOLS:
            prompts[name] = _tool(tag, kind)
        elif kind in ANSWERS:
            answers.append(_tool(tag, kind))
    return Labelling(images, prompts, tuple(answers))


def _tags(root: ElementTree.Element) -> Iterator[ElementTree.Element]:
    for number, tag in enumerate(root.iter()):
        if number > MAX_TAGS:
            raise TaskError(f"the labelling configuration has more than {MAX_TAGS:,} tags")
        yield tag


def _tool(tag: ElementTree.Element, kind: str) -> Tool:
    labels = {
        found
        for label in tag.iter()
        if label.tag.lower() == "label"
        for found in (label.get("value"), label.get("alias"))
        if found
    }
    return Tool(
        name=tag.get("name", ""),
        image=tag.get("toName", ""),
        kind=kind,
        labels=None if tag.get("value") else frozenset(labels),
        is_smart=tag.get("smart", "false").lower() == "true",
    )
