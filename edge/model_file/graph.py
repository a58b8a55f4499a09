"""What the graph of a model file may hold, checked on the stored bytes before onnxruntime sees it.

Weights in other files, operators that are not ONNX's own, and the places where either could hide
(graphs inside nodes, functions, sparse tensors) are refused, as is any field not known here.
Field numbers and names are those of onnx.proto. Does not cover what the graph computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edge.errors import ModelError
from edge.model import INPUT_NAME, OUTPUT_NAME
from edge.model_file import protobuf
from edge.model_file.protobuf import BYTES, FIXED32, FIXED64, VARINT, Budget, Field
from edge.preprocess import InputSpec
from edge.text import printable

_Message = Literal[
    "model", "opset", "graph", "node", "attribute", "tensor", "value", "type", "array", "shape",
    "dimension",
]  # fmt: skip
_Known = Mapping[int, tuple[int, ...]]  # field number to the wire types it may have
_STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_UINT8, _FLOAT = 2, 1  # TensorProto.DataType
_NUMBERS = (VARINT, BYTES)  # repeated, one by one or packed
_REALS = (FIXED32, BYTES)
_DOUBLES = (FIXED64, BYTES)
_TEXT = (BYTES,)
_NUMBER = (VARINT,)

_KNOWN: dict[_Message, _Known] = {
    # ir_version, producer_name and _version, domain, model_version, doc_string, graph,
    # opset_import, metadata_props
    "model": {1: _NUMBER, 2: _TEXT, 3: _TEXT, 4: _TEXT, 5: _NUMBER, 6: _TEXT, 7: _TEXT, 8: _TEXT,
              14: _TEXT},
    "opset": {1: _TEXT, 2: _NUMBER},  # domain, version
    # node, name, initializer, doc_string, input, output, value_info, quantization_annotation,
    # metadata_props
    "graph": {number: _TEXT for number in (1, 2, 5, 10, 11, 12, 13, 14, 16)},
    # input, output, name, op_type, attribute, doc_string, domain, metadata_props
    "node": {number: _TEXT for number in (1, 2, 3, 4, 5, 6, 7, 9)},
    # name, f, i, s, t, floats, ints, strings, tensors, doc_string, type
    "attribute": {1: _TEXT, 2: (FIXED32,), 3: _NUMBER, 4: _TEXT, 5: _TEXT, 7: _REALS, 8: _NUMBERS,
                  9: _TEXT, 10: _TEXT, 13: _TEXT, 20: _NUMBER},
    # dims, data_type, the six kinds of data, name, raw_data, doc_string, data_location,
    # metadata_props
    "tensor": {1: _NUMBERS, 2: _NUMBER, 4: _REALS, 5: _NUMBERS, 6: _TEXT, 7: _NUMBERS, 8: _TEXT,
               9: _TEXT, 10: _DOUBLES, 11: _NUMBERS, 12: _TEXT, 14: _NUMBER, 16: _TEXT},
    "value": {1: _TEXT, 2: _TEXT, 3: _TEXT, 4: _TEXT},  # name, type, doc_string, metadata_props
    "type": {1: _TEXT, 6: _TEXT},  # tensor_type, denotation
    "array": {1: _NUMBER, 2: _TEXT},  # elem_type, shape
    "shape": {1: _TEXT},  # dim
    "dimension": {1: _NUMBER, 2: _TEXT, 3: _TEXT},  # dim_value, dim_param, denotation
}  # fmt: skip
_ELSEWHERE = "keeps weights outside its own file"
_HIDDEN = "hides a graph inside another"
_WHAT_IT_DOES: dict[tuple[_Message, int], str] = {
    ("model", 20): _HIDDEN,  # training_info
    ("model", 25): "brings operators of its own",  # functions
    ("graph", 15): "holds sparse weights",
    ("attribute", 6): _HIDDEN,  # g
    ("attribute", 11): _HIDDEN,  # graphs
    ("attribute", 21): "brings operators of its own",  # ref_attr_name
    ("attribute", 22): "holds sparse weights",
    ("attribute", 23): "holds sparse weights",
    ("node", 8): "brings operators of its own",  # overload
    ("tensor", 13): _ELSEWHERE,  # external_data
    ("tensor", 14): _ELSEWHERE,  # data_location
}


def require_graph(model_bytes: bytes, spec: InputSpec, embedding_dim: int) -> None:
    """Raises ModelError unless the file is one plain graph with our input and output."""
    budget = Budget()
    graphs = []
    for field in _known_fields("model", model_bytes, budget):
        if field.number == 7:
            graphs.append(field.payload)
        elif field.number == 8:
            list(_known_fields("opset", field.payload, budget))
    if len(graphs) != 1:
        raise ModelError(f"the model holds {len(graphs)} graphs instead of one; export it again")
    inputs, outputs = [], []
    for field in _known_fields("graph", graphs[0], budget):
        if field.number == 1:
            _check_node(field.payload, budget)
        elif field.number == 5:
            _check_tensor(field.payload, budget)
        elif field.number == 11:
            inputs.append(_describe(field.payload, budget))
        elif field.number == 12:
            outputs.append(_describe(field.payload, budget))
    _require_ends("input", inputs, (INPUT_NAME, _UINT8, [None, spec.height, spec.width, 3]))
    _require_ends("output", outputs, (OUTPUT_NAME, _FLOAT, [None, embedding_dim]))


def _known_fields(message: _Message, stored: bytes | memoryview, budget: Budget) -> list[Field]:
    known = _KNOWN[message]
    found = list(protobuf.fields(stored, budget))
    for field in found:
        if field.wire_type not in known.get(field.number, ()):
            what = _WHAT_IT_DOES.get((message, field.number), "has parts that no encoder needs")
            raise ModelError(
                f"the model {what} ({message} field {field.number}), which a device does not run; "
                "use a model that fancl-export wrote"
            )
    return found


def _check_node(stored: memoryview, budget: Budget) -> None:
    node = _known_fields("node", stored, budget)
    operator = "".join(protobuf.text(field.payload) for field in node if field.number == 4)
    for field in node:
        if field.number == 7 and protobuf.text(field.payload) not in _STANDARD_DOMAINS:
            domain = protobuf.text(field.payload)
            raise ModelError(
                f"the model uses {printable(operator)[:40]} of {printable(domain)[:40]}, an "
                "operator that is not ONNX's own, which a device does not run; use a model that "
                "fancl-export wrote"
            )
        if field.number == 5:
            for part in _known_fields("attribute", field.payload, budget):
                if part.number in (5, 10):
                    _check_tensor(part.payload, budget)


def _check_tensor(stored: memoryview, budget: Budget) -> None:
    for field in _known_fields("tensor", stored, budget):
        if field.number == 14 and field.value != 0:
            raise ModelError(
                f"the model {_ELSEWHERE} (tensor field 14), which a device does not run; use a "
                "model that fancl-export wrote"
            )


_End = tuple[str, int, list[int | None]]  # name, element type, sizes (None: any)


def _describe(stored: memoryview, budget: Budget) -> _End:
    value = _known_fields("value", stored, budget)
    tensor = _known_fields("type", _only(value, 2), budget)
    array = _known_fields("array", _only(tensor, 1), budget)
    sizes: list[int | None] = []
    for dimension in _known_fields("shape", _only(array, 2), budget):
        parts = _known_fields("dimension", dimension.payload, budget)
        fixed = [part.value for part in parts if part.number == 1]
        sizes.append(max(fixed, default=None))
    element = [field.value for field in array if field.number == 1]
    return protobuf.text(_only(value, 1)), element[0] if len(element) == 1 else 0, sizes


def _only(message: list[Field], number: int) -> memoryview:
    """The payload of a field that must be there once; protobuf would merge two."""
    found = [field.payload for field in message if field.number == number]
    if len(found) != 1:
        raise ModelError("the model's input or output has no plain shape; export it again")
    return found[0]


def _require_ends(what: str, found: list[_End], expected: _End) -> None:
    if found != [expected]:
        shown = ", ".join(_words(one) for one in found) or "none"
        raise ModelError(
            f"the model's {what} is not what its manifest says: it has {shown}, expected is "
            f"{_words(expected)}; export it again"
        )


def _words(end: _End) -> str:
    name, element, sizes = end
    kind = {_UINT8: "uint8", _FLOAT: "float32"}.get(element, f"type {element}")
    shown = ", ".join("N" if size is None else str(size) for size in sizes)
    return f"{printable(name)[:40]} {kind} [{shown}]"
