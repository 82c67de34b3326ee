"""Masks -> polygons along the edges between pixels."""

from clickcut.polygons.convert import to_polygons, tolerance_of
from clickcut.polygons.outlines import MAX_CORNERS
from clickcut.polygons.polygon import MAX_OUTLINES, Polygon

__all__ = ["MAX_CORNERS", "MAX_OUTLINES", "Polygon", "to_polygons", "tolerance_of"]
