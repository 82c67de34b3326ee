"""A float bundle -> int8: static QDQ, calibrated on real click sessions, verified.

Weights have a scale for each output channel, activations 8 bits with a range for each tensor (Jacob
et al. 2018). The score, one channel, stays float with all that follows from it: it is
little work, and 8 bits of logits would be steps of the outline; so does the guidance's pooling,
whose input is the network's. The first convolutions see colours,
clicks and the previous probability together and lose most; a search says how many stay float.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from clickcut.backends import Predictor, load_predictor
from clickcut.bundle import BundleMetadata
from clickcut.bundle.reference import make_reference
from clickcut.session.state import probability
from clickcut_export.calibration import Quantiser
from clickcut_export.errors import ExportError
from clickcut_export.faster import pooling_convolutions
from clickcut_export.graph import consumers, finish, load_graph
from clickcut_export.parity import INT8, Batch, Network, Parity, Tolerance, compare

QuantTarget = Literal["cpu", "tensorrt"]

_MOST_FLOAT = 4
"""Convolutions, counted from the input, that the search keeps float at most."""

_GAIN = 0.95
"""One more is kept float when the mean error falls below this part of what it was."""

_ADVICE = (
    "calibrate on more or other objects (--data, --objects), keep more convolutions in float "
    "(--keep-float NAME,...), or use fp16 (--precision fp16)"
)
"""What to try when int8 is too far off."""

_COMPARED_ON = 24
"""Inputs on which the search measures."""


@dataclass(frozen=True)
class Int8Result:
    """A quantised bundle, not yet written.

    Attributes:
        data: bytes of the bundle.
        metadata: as in it.
        kept_float: convolutions that stayed float.
        parity: to the float bundle, on inputs that were not calibrated on.
    """

    data: bytes
    metadata: BundleMetadata
    kept_float: tuple[str, ...]
    parity: Parity


def quantise(
    bundle: Path,
    calibration: Sequence[Batch],
    held_out: Sequence[Batch],
    keep_float: Sequence[str] | None = None,
    target: QuantTarget = "cpu",
    tolerance: Tolerance = INT8,
    say: Callable[[str], None] = lambda _: None,
) -> Int8Result:
    """Quantise a float bundle.

    Args:
        bundle: the float bundle.
        calibration: (1, C, S, S) float32 each, from `clickcut_export.sessions`.
        held_out: the same, of other photographs; for the search and for parity.
        keep_float: names of convolutions that stay float; None: found by a search.
        target: what will run it; see `Quantiser`.
        tolerance: to the float bundle.
        say: called with lines about the progress.

    Raises:
        BundleError: `bundle` is not one.
        ExportError: it is quantised already, has no such convolution, or cannot be quantised.
        ParityError: the result is too far off.
    """
    model, metadata = load_graph(bundle)
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise ExportError(f"{bundle}: is quantised already; give the float bundle")
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    if unknown := sorted(set(keep_float or ()) - set(convolutions)):
        raise ExportError(f"{bundle}: has no convolution {', '.join(unknown)}")
    if not calibration or not held_out:
        raise ExportError("the data gave no click session; give photographs with objects")
    reference = load_predictor(bundle).predict
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"calibrating on {len(calibration)} inputs")
        quantiser = Quantiser(model, calibration, folder, symmetric=target == "tensorrt")
        always_float = [*behind_score(model), *pooling_convolutions(model)]

        def quantised(names: Sequence[str]) -> onnx.ModelProto:
            return quantiser.quantise([*with_activations(model, names), *always_float])

        def error(names: Sequence[str]) -> float:
            with loaded(finish(quantised(names), metadata), folder) as predictor:
                some = held_out[:: max(1, len(held_out) // _COMPARED_ON)]
                return compare(reference, predictor.predict, some).mean

        inner = [name for name in convolutions if name not in always_float]
        chosen = tuple(search(inner, error, say) if keep_float is None else keep_float)
        facts = {
            "precision": "int8",
            "quantisation": "static QDQ, per-channel "
            + (
                "int8 weights, int8 activations around 0"
                if target == "tensorrt"
                else "7-bit weights, uint8 activations"
            ),
            "calibration": f"{len(calibration)} inputs of simulated click sessions, min and max",
            "kept_float": ", ".join((*chosen, "score")),
        }
        metadata = metadata.model_copy(
            update={
                "version": f"{metadata.version}-int8",
                "training": metadata.training | facts,
                "accuracy": {},  # was measured on the float model
            }
        )
        data = finish(quantised(chosen), metadata)
        with loaded(data, folder) as predictor:
            reference_answer = make_reference(most_undecided(held_out, reference), predictor)
        data = finish(quantised(chosen), metadata, reference_answer)
        with loaded(data, folder) as predictor:
            parity = compare(reference, predictor.predict, held_out, metadata.cut.threshold)
    parity.check(tolerance, f"the int8 form of {bundle.name}", _ADVICE)
    return Int8Result(data, metadata, chosen, parity)


def with_activations(model: onnx.ModelProto, convolutions: Sequence[str]) -> list[str]:
    """Names of the nodes that stay float with some convolutions: these and their activations."""
    names = []
    for node in model.graph.node:
        if node.name in convolutions:
            names.append(node.name)
            readers = consumers(model, node.output[0])
            names += [r.name for r in readers if r.op_type in ("Relu", "Clip")]
    return names


def most_undecided(inputs: Sequence[Batch], network: Network) -> Batch:
    """Of the first few inputs, the one whose answer small errors of arithmetic change most."""

    def undecided(batch: Batch) -> float:
        p = probability(network(batch))
        return float((p * (1 - p)).mean())

    return max(inputs[:_COMPARED_ON], key=undecided)


@contextmanager
def loaded(data: bytes, folder: Path) -> Iterator[Predictor]:
    """A bundle that is not written yet, as a predictor."""
    path = folder / "candidate.onnx"
    path.write_bytes(data)
    yield load_predictor(path)
    path.unlink()


def search(
    convolutions: Sequence[str],
    error: Callable[[Sequence[str]], float],
    say: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """How many of the first convolutions stay float: as many as pay.

    Only an unbroken run from the input is tried. A float convolution between int8 ones gains
    nothing: ONNX Runtime quantises its weights by itself, for the whole tensor at once.

    Args:
        convolutions: names, in the order that they run.
        error: mean error of the probability with some of them float.
        say: called with lines about the progress.
    """
    least, chosen = error([]), 0
    say(f"all int8: mean error {least:.5f}")
    for count in range(1, min(_MOST_FLOAT, len(convolutions)) + 1):
        found = error(convolutions[:count])
        say(f"first {count} float: mean error {found:.5f}")
        if found < _GAIN * least:
            least, chosen = found, count
    return list(convolutions[:chosen])


def behind_score(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions to one channel and of all nodes that follow from them."""
    shapes = {t.name: t.dims for t in model.graph.initializer}
    reached: set[str] = set()
    names = []
    for node in model.graph.node:
        is_score = node.op_type == "Conv" and shapes.get(node.input[1], (0,))[0] == 1
        if is_score or reached.intersection(node.input):
            names.append(node.name)
            reached.update(node.output)
    return names
