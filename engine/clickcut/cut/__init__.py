"""The graph cut: logits and clicks -> the mask of least energy, exactly (paper section 3.4).

`EdgeWeights` belongs to an image and is shared; `Cut` belongs to one object being selected. See
docs/cut.md for what is stored and why the result is exact.
"""

from clickcut.cut.cut import SOLVERS, Cut
from clickcut.cut.warm_up import warm_up
from clickcut.cut.weights import EdgeWeights

__all__ = ["SOLVERS", "Cut", "EdgeWeights", "warm_up"]
