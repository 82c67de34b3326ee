"""One cut per click: check the problem, then solve it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from clickcut.cut.full import FullSolver
from clickcut.cut.grid import GridSolver
from clickcut.cut.problem import MAX_SEED_RADIUS, Samples, make_samples
from clickcut.cut.weights import EdgeWeights
from clickcut.errors import CutError
from clickcut.region import Region

MAX_LAMBDA = 1e9
"""Maximum lambda: far above the value at which every pixel keeps the sign of its logit, and far
below an overflow of int64."""

NOT_FINITE = "the logits have NaN or infinite values; check the network's output"


class _Solver(Protocol):
    def __init__(self, edges: EdgeWeights) -> None: ...

    @staticmethod
    def check_installed() -> None: ...

    def solve(
        self, samples: Samples, region: Region, seeds: NDArray[np.int32], seed_radius: float
    ) -> NDArray[np.bool_]: ...

    def reset(self) -> None: ...

    @property
    def nbytes(self) -> int: ...


_CLASSES: dict[str, type[_Solver]] = {"grid": GridSolver, "pymaxflow": FullSolver}

SOLVERS: tuple[str, ...] = tuple(_CLASSES)
"""Names of solvers: our own, and PyMaxflow."""


def check_solver(solver: str) -> None:
    """Check that a solver can be used.

    Raises:
        CutError: it is unknown or not installed.
    """
    if solver not in _CLASSES:
        raise CutError(f"unknown cut solver {solver!r}; choose one of {', '.join(SOLVERS)}")
    _CLASSES[solver].check_installed()


class CutProblem(NamedTuple):
    """A cut problem; the fields are the arguments of `Cut.solve`."""

    logits: NDArray[np.float32]
    region: Region
    seeds: NDArray[np.int32]
    cut_lambda: float
    seed_radius: float

    def check(self, width: int, height: int) -> None:
        """Check all fields, except whether the logits are finite.

        Args:
            width: of the image, pixels.
            height: of the image.

        Raises:
            CutError: an invalid field; the message says which.
        """
        _check_region(self.region, width, height)
        _check_arrays(self.logits, self.seeds)
        _check_number("cut_lambda", self.cut_lambda, MAX_LAMBDA)
        _check_number("seed_radius", self.seed_radius, MAX_SEED_RADIUS)


class Cut:
    """The cut of one object being selected. Not thread-safe.

    It starts from the last solution, which makes it fast and never changes a result: the mask is
    a function of the arguments of `solve` and of the edge weights alone, for every solver.

    Args:
        edges: of the image; shared between cuts.
        solver: one of `SOLVERS`.

    Raises:
        CutError: an unknown solver, or one that is not installed.
    """

    def __init__(self, edges: EdgeWeights, solver: str = "grid") -> None:
        check_solver(solver)
        self._edges = edges
        self._solver = _CLASSES[solver](edges)

    def solve(
        self,
        logits: NDArray[np.float32],
        region: Region,
        seeds: NDArray[np.int32],
        cut_lambda: float,
        seed_radius: float,
    ) -> NDArray[np.bool_]:
        """Return the mask of minimum energy in a region; of several, that with most object pixels.

        Args:
            logits: (S, S) float32, log q / (1 - q) over the region, sampled as by cv2.resize with
                INTER_LINEAR; clipped to +-12.
            region: inside the image, at least one pixel. Pixels outside are not coupled to it.
            seeds: (N, 3) int32, clicks in the order made: x, y in image coordinates, and sign
                (> 0 object, < 0 background). Discs outside the region have no effect.
            cut_lambda: lambda of equation 3, 0..1e9.
            seed_radius: image pixels, 0..256. A pixel at most this far from a click has its label;
                where discs overlap that of the nearest click, among equals the latest.

        Returns:
            (region.height, region.width) bool, True = object; a new array.

        Raises:
            CutError: an invalid argument; the message says which. The cut stays usable.
        """
        problem = CutProblem(logits, region, seeds, cut_lambda, seed_radius)
        height, width = self._edges.image.shape[:2]
        problem.check(width, height)
        return self.solve_checked(problem)

    def solve_checked(self, problem: CutProblem) -> NDArray[np.bool_]:
        """Solve a problem that was checked; see `solve`.

        Raises:
            CutError: a logit is not finite. The cut stays usable.
        """
        region = problem.region
        samples = make_samples(
            problem.logits, region.width, region.height, float(problem.cut_lambda)
        )
        if samples is None:
            raise CutError(NOT_FINITE)
        seeds = np.ascontiguousarray(problem.seeds)
        return self._solver.solve(samples, region, seeds, float(problem.seed_radius))

    def reset(self) -> None:
        """Discard the warm state."""
        self._solver.reset()

    @property
    def nbytes(self) -> int:
        """Memory in bytes, without the edge weights."""
        return self._solver.nbytes


def _check_region(region: Region, width: int, height: int) -> None:
    if not isinstance(region, Region):
        raise CutError(f"the region must be a Region, got {type(region).__name__}")
    if region.x0 >= region.x1 or region.y0 >= region.y1:
        raise CutError(f"the region is empty: {region}; it must hold at least one pixel")
    if region.x0 < 0 or region.y0 < 0 or region.x1 > width or region.y1 > height:
        raise CutError(f"{region} extends beyond the image of {width} x {height} pixels; clip it")


def _check_arrays(logits: NDArray[np.float32], seeds: NDArray[np.int32]) -> None:
    for name, array, dtype in (("logits", logits, np.float32), ("seeds", seeds, np.int32)):
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise CutError(f"{name} must be a {dtype.__name__} array, got {found}; convert them")
    if logits.ndim != 2 or logits.size == 0:
        raise CutError(f"logits must have shape (S, S) with S >= 1, got {logits.shape}")
    if seeds.ndim != 2 or seeds.shape[1] != 3:
        raise CutError(
            f"seeds must have shape (N, 3): x, y, sign; got {seeds.shape}. For none, use (0, 3)"
        )
    if (seeds[:, 2] == 0).any():
        raise CutError("a seed has sign 0; use 1 for object and -1 for background")


def _check_number(name: str, value: float, maximum: float) -> None:
    if not (isinstance(value, (int, float, np.number)) and 0 <= value <= maximum):
        raise CutError(f"{name} must be a number from 0 to {maximum:g}, got {value!r}")
