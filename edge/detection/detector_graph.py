"""What a detector's file may not hold: weights in other files, operators that are not ONNX's own.

A detector may have graphs inside nodes (suppression with loops); nothing else is asked of it, so
that published exports run as they are. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

from edge.errors import ModelError
from edge.model_file import protobuf
from edge.model_file.protobuf import BYTES, Budget, Field
from edge.text import printable

_STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


def require_own_weights(model_bytes: bytes) -> None:
    """Raises ModelError unless the file is one ONNX graph that needs nothing else."""
    budget = Budget()
    fields = list(protobuf.fields(model_bytes, budget))
    graphs = _payloads(fields, 7)
    if len(graphs) != 1:
        raise ModelError("this is no ONNX file; give the .onnx file of a detector")
    _check_graph(graphs[0], budget)
    for function in _payloads(fields, 25):
        for node in _payloads(list(protobuf.fields(function, budget)), 7):
            _check_node(node, budget)


def _payloads(fields: list[Field], number: int) -> list[memoryview]:
    return [one.payload for one in fields if one.number == number and one.wire_type == BYTES]


def _check_graph(stored: memoryview, budget: Budget) -> None:
    fields = list(protobuf.fields(stored, budget))
    for node in _payloads(fields, 1):
        _check_node(node, budget)
    for tensor in _payloads(fields, 5):
        _check_tensor(tensor, budget)
    for sparse in _payloads(fields, 15):
        _check_sparse(sparse, budget)


def _check_node(stored: memoryview, budget: Budget) -> None:
    fields = list(protobuf.fields(stored, budget))
    operator = "".join(protobuf.text(one) for one in _payloads(fields, 4))
    for domain in map(protobuf.text, _payloads(fields, 7)):
        if domain not in _STANDARD_DOMAINS:
            raise ModelError(
                f"it uses {printable(operator)[:40]} of {printable(domain)[:40]}, an operator that "
                "is not ONNX's own, which a device does not run; export the detector without it"
            )
    for attribute in _payloads(fields, 5):
        parts = list(protobuf.fields(attribute, budget))
        for tensor in [*_payloads(parts, 5), *_payloads(parts, 10)]:
            _check_tensor(tensor, budget)
        for graph in [*_payloads(parts, 6), *_payloads(parts, 11)]:
            _check_graph(graph, budget)
        for sparse in [*_payloads(parts, 22), *_payloads(parts, 23)]:
            _check_sparse(sparse, budget)


def _check_sparse(stored: memoryview, budget: Budget) -> None:
    fields = list(protobuf.fields(stored, budget))
    for tensor in [*_payloads(fields, 1), *_payloads(fields, 2)]:
        _check_tensor(tensor, budget)


def _check_tensor(stored: memoryview, budget: Budget) -> None:
    fields = list(protobuf.fields(stored, budget))
    elsewhere = any(one.number == 14 and one.value != 0 for one in fields)
    if elsewhere or _payloads(fields, 13):
        raise ModelError(
            "it keeps weights outside its own file, which a device does not read; export the "
            "detector as one file"
        )
