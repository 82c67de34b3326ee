"""A reference answer: a small input and the output of the network when it was exported.

The arithmetic of a quantised network depends on the processor and on the library that runs it. On
x86 processors without VNNI, ONNX Runtime's fast kernels add two products of 8-bit integers in 16
bits, which saturates, and masks come out wrong without an error (ONNX Runtime, "Quantize ONNX
models"). So an int8 bundle carries a reference answer, and a predictor that does not reproduce it
is rejected.

Both arrays are small grids: input cells are repeated to the network's size, and the probability is
averaged over the same cells. The entry `clickcut_reference` of the file's metadata holds them as
JSON; a plan has them in its description.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clickcut.bundle.metadata import BundleMetadata, faults_of
from clickcut.errors import BundleError

REFERENCE_KEY = "clickcut_reference"
"""Key of the reference answer in `metadata_props`."""

GRID = 16
"""Cells along a side; divides every input size, which is a multiple of 32."""

CPU_TOLERANCE = 2e-3
"""Maximum mean difference of probability on a CPU. Kernels that do not saturate differ by less than
1e-5 on the default network, those that do by 5e-3 to 1.4e-2 (benchmarks/results/int8.md).
"""

GPU_TOLERANCE = 2e-2
"""The same on a GPU, whose kernels fuse and round differently: what int8 itself may cost."""

MAX_BYTES = 2**16
"""Maximum size of the JSON of a reference answer, bytes."""

_Bound = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class _Network(Protocol):
    metadata: BundleMetadata

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]: ...


class ReferenceAnswer(BaseModel):
    """An input and its probability of object.

    Both are base64 of `GRID` x `GRID` cells, row by row: the input (C, GRID, GRID) uint8, the
    probability (GRID, GRID) little-endian uint16 of 65535ths.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    ranges: tuple[tuple[_Bound, _Bound], ...] = Field(
        max_length=6, description="of each input channel, what 0 and 255 stand for"
    )
    cells: str = Field(max_length=2**14)
    probability: str = Field(max_length=2**12)

    def input(self, size: int) -> NDArray[np.float32]:
        """Return the network's input, (1, C, size, size) float32.

        Args:
            size: S, pixels, a multiple of `GRID`.
        """
        cells = _decoded(self.cells, np.uint8, (len(self.ranges), GRID, GRID)) / np.float32(255)
        low, high = np.array(self.ranges, np.float32).reshape(-1, 2).T[:, :, None, None]
        values = (low + (high - low) * cells).astype(np.float32)
        enlarged: NDArray[np.float32] = values.repeat(size // GRID, 1).repeat(size // GRID, 2)
        return enlarged[None]

    def difference(self, logits: NDArray[np.float32]) -> float:
        """Return the mean difference of probability, over the cells.

        Args:
            logits: (1, S, S) float32, for `input(S)`.
        """
        expected = _decoded(self.probability, np.dtype("<u2"), (GRID, GRID)) / 65535
        return float(np.abs(_pooled(logits) - expected).mean())


def make_reference(batch: NDArray[np.float32], network: _Network) -> ReferenceAnswer:
    """Make a reference answer from an input and the network's output.

    Args:
        batch: (1, C, S, S) float32; the middle of each cell is taken, of clicks the largest value.
        network: computes the output.
    """
    _, channels, size, _ = batch.shape
    side = size // GRID
    cells = batch[0, :, side // 2 :: side, side // 2 :: side].copy()
    clicks = slice(3, 5)
    cells[clicks] = batch[0, clicks].reshape(2, GRID, side, GRID, side).max((2, 4))
    low, high = (f(cells.reshape(channels, -1), 1).astype(float) for f in (np.min, np.max))
    scale = np.where(high > low, high - low, 1)[:, None, None]
    levels = np.rint(255 * (cells - low[:, None, None]) / scale).astype(np.uint8)
    asked = ReferenceAnswer(
        ranges=tuple(zip(low.tolist(), high.tolist(), strict=True)),
        cells=base64.b64encode(levels.tobytes()).decode(),
        probability="",
    )
    answer = np.rint(65535 * _pooled(network.predict(asked.input(size)))).astype("<u2")
    encoded = base64.b64encode(answer.tobytes()).decode()
    return asked.model_copy(update={"probability": encoded})


def parse_reference(document: str, metadata: BundleMetadata, where: str) -> ReferenceAnswer:
    """Read the JSON of a reference answer.

    Args:
        document: JSON.
        metadata: of the bundle that holds it.
        where: file, for messages.

    Raises:
        BundleError: too long, not JSON, a wrong field, or it does not fit the metadata.
    """
    if len(document) > MAX_BYTES:
        raise BundleError(
            f"{where}: its reference answer has {len(document)} bytes, more than {MAX_BYTES}"
        )
    try:
        found = ReferenceAnswer.model_validate_json(document)
    except ValidationError as error:
        raise BundleError(f"{where}: reference answer: {faults_of(error)}") from error
    check_reference(found, metadata, where)
    return found


def check_reference(found: ReferenceAnswer, metadata: BundleMetadata, where: str) -> None:
    """Check that a reference answer fits the metadata beside it.

    Raises:
        BundleError: it does not.
    """
    channels = len(metadata.channels)
    try:
        if len(found.ranges) != channels:
            raise ValueError(f"it has {len(found.ranges)} channels, not {channels}")
        _decoded(found.cells, np.uint8, (channels, GRID, GRID))
        _decoded(found.probability, np.dtype("<u2"), (GRID, GRID))
    except (binascii.Error, ValueError) as error:
        raise BundleError(f"{where}: reference answer: {error}") from error


def _pooled(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """(1, S, S) logits -> (GRID, GRID) mean probability of each cell."""
    side = logits.shape[-1] // GRID
    probability = 1 / (1 + np.exp(-np.clip(logits[0].astype(np.float64), -60, 60)))
    means: NDArray[np.float64] = probability.reshape(GRID, side, GRID, side).mean((1, 3))
    return means


def _decoded(text: str, dtype: np.typing.DTypeLike, shape: tuple[int, ...]) -> NDArray[np.integer]:
    """Decode base64 to an array.

    Raises:
        ValueError: not base64, or of another size.
    """
    data = base64.b64decode(text, validate=True)
    return np.frombuffer(data, dtype).reshape(shape)
