"""The numbers that the paper (Xu et al., CVPR 2016) prints, to stand beside ours."""

from __future__ import annotations

COLUMNS = ("voc", "grabcut", "berkeley", "coco seen", "coco unseen")
"""Of table 1."""

_ROWS = {
    "graph-cut": (15.06, 11.10, 14.33, 18.67, 17.80),
    "geodesic-matting": (14.75, 12.44, 15.96, 17.32, 14.86),
    "random-walker": (11.37, 12.30, 14.02, 13.91, 11.53),
    "euclidean-star": (11.79, 8.52, 12.11, 13.90, 11.63),
    "geodesic-star": (11.73, 8.38, 12.57, 14.37, 12.45),
    "growcut": (14.56, 16.74, 18.25, 17.40, 17.34),
    "fcn-cut": (6.88, 6.04, 8.65, 8.31, 7.82),
}
_FIRST_CLICK = {
    "semantic": (42.37, 16.14),
    "semantic-crf-learned": (47.01, 13.28),
    "fcn-cut": (48.35, 42.94),
}


def mean_clicks(method: str, column: str) -> float | None:
    """Table 1: mean clicks of a method; None where the paper has none."""
    row = _ROWS.get(method)
    return row[COLUMNS.index(column)] if row and column in COLUMNS else None


def first_click(method: str, seen: bool) -> float | None:
    """Table 2: mean IoU in percent after one positive click on COCO."""
    row = _FIRST_CLICK.get(method)
    return row[0 if seen else 1] if row else None
