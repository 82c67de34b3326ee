"""The columns of the tables: data sets, COCO split into classes seen and unseen by VOC's 20."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clickcut_eval.datasets.voc import SEEN_IN_COCO
from clickcut_eval.metrics import Outcome
from clickcut_eval.store import Run


@dataclass(frozen=True)
class Group:
    """Objects that belong together.

    Attributes:
        key: as in `paper.COLUMNS`.
        title: for people.
        dataset: that they are of.
        seen: of COCO, whether their classes are among VOC's; None: no split.
        target: IoU that clicks are counted to.
    """

    key: str
    title: str
    dataset: str
    seen: bool | None
    target: float

    def of(self, run: Run, method: str) -> list[Outcome]:
        """A method's outcomes on these objects."""
        outcomes = run.of(self.dataset, method)
        if self.seen is None:
            return outcomes
        return [o for o in outcomes if (o.category in SEEN_IN_COCO) == self.seen]


def groups(run: Run) -> Sequence[Group]:
    """The groups of all data sets of a run, clothing parts left out."""
    out = []
    for name, facts in run.configuration["datasets"].items():
        title, target = facts["title"], facts["target_iou"]
        if name.startswith("coco"):
            out += [
                Group("coco seen", f"{title}, seen", name, True, target),
                Group("coco unseen", f"{title}, unseen", name, False, target),
            ]
        elif name != "clothing_parts":
            out.append(Group(name, title, name, None, target))
    return out
