"""Problems for the tests of the cut, drawn by hypothesis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from naive_cut import integer_unaries, logits_at_pixels, seed_signs, without_leaving
from numpy.typing import NDArray

from clickcut.cut import Cut, EdgeWeights
from clickcut.region import Region

LAMBDAS = (0.0, 0.03, 0.1, 0.5, 1.0, 4.0, 300.0)
RADII = (0.0, 1.0, 1.5, 5.0)
KINDS = ("flat", "steps", "checkerboard", "snake", "noise", "smooth")


@dataclass(frozen=True)
class Problem:
    """Arguments of `Cut.solve`, and the image."""

    image: NDArray[np.uint8]
    logits: NDArray[np.float32]
    region: Region
    seeds: NDArray[np.int32]
    cut_lambda: float
    seed_radius: float

    def solve(self, cut: Cut) -> NDArray[np.bool_]:
        return cut.solve(self.logits, self.region, self.seeds, self.cut_lambda, self.seed_radius)

    def in_integers(self, edges: EdgeWeights) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Unaries by the naive code, and weights as the solvers use them."""
        values = logits_at_pixels(self.logits, self.region.width, self.region.height)
        signs = seed_signs(self.seeds, self.region, self.seed_radius)
        height, width = edges.image.shape[:2]
        edges.dense(Region(0, 0, width, height))
        weights = without_leaving(edges.store.reshape(height, width, 4), self.region)
        return integer_unaries(values, signs, self.cut_lambda), weights


def an_image(kind: str, width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(height, width, 3) uint8; the kinds make ties, strong edges and long thin structures."""
    y, x = np.mgrid[:height, :width]
    if kind == "flat":
        grey = np.full((height, width), 77)
    elif kind == "steps":
        grey = (x // 3 + y // 4) % 3 * 60
    elif kind == "checkerboard":
        grey = (x + y) % 2 * 200
    elif kind == "snake":
        turn = np.where(y // 2 % 2 == 0, x == width - 1, x == 0)
        grey = np.where((y % 2 == 0) | turn, 30, 220)
    elif kind == "noise":
        return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    else:
        grey = 120 + 60 * np.sin(x / 5) + 40 * np.cos(y / 7)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def some_logits(rng: np.random.Generator, kind: str, side: int) -> NDArray[np.float32]:
    """(side, side) float32: smooth or not, with ties, zeros or one sign only."""
    z = rng.normal(0, 2, (side, side))
    if kind == "ties":
        z = np.round(z)
    elif kind == "zero":
        z = np.zeros_like(z)
    elif kind == "large":
        z *= 1e30
    elif kind == "one sign":
        z = np.abs(z)
    return z.astype(np.float32)


@st.composite
def seeds_near(draw: Any, width: int, height: int, most: int = 5) -> NDArray[np.int32]:
    one = st.tuples(
        st.integers(-4, width + 3), st.integers(-4, height + 3), st.sampled_from([-1, 1])
    )
    return np.array(draw(st.lists(one, max_size=most)), np.int32).reshape(-1, 3)


@st.composite
def regions_in(draw: Any, width: int, height: int) -> Region:
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
    return Region(x0, y0, x1, y1)


@st.composite
def problems(draw: Any, most: int = 12, samples: int = 14) -> Problem:
    width, height = draw(st.integers(1, most)), draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(("normal", "ties", "zero", "large", "one sign")))
    whole = Region(0, 0, width, height)
    return Problem(
        an_image(draw(st.sampled_from(KINDS)), width, height, rng),
        some_logits(rng, kind, draw(st.integers(1, samples))),
        draw(st.one_of(st.just(whole), regions_in(width, height))),
        draw(seeds_near(width, height)),
        draw(st.sampled_from(LAMBDAS)),
        draw(st.sampled_from(RADII)),
    )


@st.composite
def histories(draw: Any, most: int = 60, steps: int = 8) -> list[Problem]:
    """What a user does to one object: clicks, undo, moved regions, other parameters."""
    width, height = draw(st.integers(8, most)), draw(st.integers(8, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    image = an_image(draw(st.sampled_from(KINDS)), width, height, rng)
    side = draw(st.integers(2, 12))
    present = Problem(
        image, some_logits(rng, "normal", side), Region(0, 0, width, height),
        np.empty((0, 3), np.int32), draw(st.sampled_from(LAMBDAS)), 3.0,
    )  # fmt: skip
    out = [present]
    for _ in range(draw(st.integers(1, steps))):
        what = draw(st.sampled_from(("click", "click", "click", "undo", "region", "parameters")))
        if what == "click":
            seed = rng.integers(0, width), rng.integers(0, height), rng.choice([-1, 1])
            change = rng.normal(0, rng.choice([0.05, 0.5, 2]), present.logits.shape)
            present = replace(
                present,
                seeds=np.vstack([present.seeds, np.array([seed], np.int32)]),
                logits=(present.logits + change).astype(np.float32),
            )
        elif what == "undo":
            present = replace(draw(st.sampled_from(out)), region=present.region)
        elif what == "region":
            present = replace(present, region=draw(regions_in(width, height)))
        else:
            present = replace(
                present,
                cut_lambda=draw(st.sampled_from(LAMBDAS)),
                seed_radius=draw(st.sampled_from(RADII)),
            )
        out.append(present)
    return out
