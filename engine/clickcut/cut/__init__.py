"""The graph cut: logits and clicks -> the mask of least energy, exactly (paper section 3.4).

`EdgePyramid` belongs to an image and is shared, with its `EdgeWeights` at each reduction.
`RegionCut` belongs to one object being selected and decides at which resolution a `Cut` solves a
region. See docs/cut.md for what is stored and why the result is exact.
"""

from clickcut.cut.cut import SOLVERS, Cut
from clickcut.cut.pyramid import EdgePyramid
from clickcut.cut.region_cut import RegionCut
from clickcut.cut.warm_up import warm_up
from clickcut.cut.weights import EdgeWeights

__all__ = ["SOLVERS", "Cut", "EdgePyramid", "EdgeWeights", "RegionCut", "warm_up"]
