"""Check the graph of a bundle before ONNX Runtime loads it.

A bundle is one file, computed in one pass. So external tensors, operators that repeat a graph, and
local functions (nested ones grow exponentially when expanded) are rejected.

Field numbers are those of onnx.proto.
"""

from __future__ import annotations

from clickcut.bundle.wire import BYTES, VARINT, Budget, Field, fields

LOOPS = frozenset({b"Loop", b"Scan", b"SequenceMap"})
"""Operators that run a subgraph an unbounded number of times."""

_MAX_DEPTH = 8
"""Maximum depth of nested graphs; a branch of an `If` is one level."""

_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_SPARSE_TENSORS = (1, 2)
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 13, 14
_LONGEST_NAME = 80


def check_graph(data: bytes, budget: Budget) -> None:
    """Check a serialised `ModelProto`.

    Args:
        data: all of it.
        budget: remaining number of fields.

    Raises:
        ValueError: it is not protobuf, has too many fields or levels, or contains something that
            is not allowed in a bundle; the message says what to do.
    """
    for field in fields(data, 0, len(data), budget):
        if field.number in (_MODEL_FUNCTIONS, _MODEL_TRAINING):
            what = "local functions" if field.number == _MODEL_FUNCTIONS else "a training graph"
            raise ValueError(f"it holds {what}; export the model without")
        if field.number == _MODEL_GRAPH:
            _check_graph(data, field, budget, 0)


def _check_graph(data: bytes, graph: Field, budget: Budget, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"its graphs are nested more than {_MAX_DEPTH} deep")
    for field in _messages(data, graph, budget):
        if field.number == _GRAPH_NODE:
            _check_node(data, field, budget, depth)
        elif field.number == _GRAPH_TENSOR:
            _check_tensor(data, field, budget)
        elif field.number == _GRAPH_SPARSE:
            _check_sparse(data, field, budget)


def _check_node(data: bytes, node: Field, budget: Budget, depth: int) -> None:
    for field in _messages(data, node, budget):
        if field.number == _NODE_OPERATOR and data[field.body : field.end] in LOOPS:
            operator = data[field.body : field.end].decode()
            raise ValueError(
                f"its graph repeats a part of itself (operator {operator}), so nothing says when "
                "it ends; export the model without loops"
            )
        if field.number == _NODE_ATTRIBUTE:
            _check_attribute(data, field, budget, depth)


def _check_attribute(data: bytes, attribute: Field, budget: Budget, depth: int) -> None:
    for field in _messages(data, attribute, budget):
        if field.number in _ATTRIBUTE_TENSORS:
            _check_tensor(data, field, budget)
        elif field.number in _ATTRIBUTE_GRAPHS:
            _check_graph(data, field, budget, depth + 1)
        elif field.number in _ATTRIBUTE_SPARSE:
            _check_sparse(data, field, budget)


def _check_sparse(data: bytes, sparse: Field, budget: Budget) -> None:
    for field in _messages(data, sparse, budget):
        if field.number in _SPARSE_TENSORS:
            _check_tensor(data, field, budget)


def _check_tensor(data: bytes, tensor: Field, budget: Budget) -> None:
    name, external = b"", False
    for field in fields(data, tensor.body, tensor.end, budget):
        if field.number == _TENSOR_NAME and field.kind == BYTES:
            name = data[field.body : min(field.end, field.body + _LONGEST_NAME)]
        external = external or field.number == _TENSOR_EXTERNAL
        if field.number == _TENSOR_LOCATION:
            external = external or field.kind != VARINT or field.value != 0
    if external:
        raise ValueError(
            f"the values of its tensor {name.decode('utf-8', 'replace')!r} lie in another file, "
            "and a bundle is one file; save the model without external data"
        )


def _messages(data: bytes, parent: Field, budget: Budget) -> list[Field]:
    """Return the fields of a message that have a length: strings and messages."""
    found = fields(data, parent.body, parent.end, budget)
    return [field for field in found if field.kind == BYTES]
