"""Nodes that torch's exporter writes and no device needs.

Works in place on the stripped graph. Whether the result computes the same is for `parity`.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper


def simplify(model: onnx.ModelProto) -> None:
    graph = model.graph
    _pick_by_gather(graph)
    _remove_unused(graph)


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[np.int64]]:
    """The small integer initializers: sizes, axes, positions."""
    return {
        one.name: numpy_helper.to_array(one)
        for one in graph.initializer
        if one.data_type == onnx.TensorProto.INT64 and len(one.dims) <= 1
    }


def _pick_by_gather(graph: onnx.GraphProto) -> None:
    """Slice of one position and Squeeze of its axis: one Gather."""
    known = _constants(graph)
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in graph.node:
        after = readers.get(node.output[0], [])
        if node.op_type != "Slice" or len(after) != 1 or after[0].op_type != "Squeeze":
            continue
        start, end, axis = (known.get(name) for name in node.input[1:4])
        squeezed = known.get(after[0].input[1]) if len(after[0].input) > 1 else None
        if start is None or end is None or axis is None or squeezed is None:
            continue
        if len(start) == 1 and 0 <= start[0] == end[0] - 1 and list(axis) == list(squeezed):
            position = _add(graph, f"{node.name}_position", np.array(start[0]))
            after[0].CopyFrom(
                helper.make_node(
                    "Gather",
                    [node.input[0], position],
                    list(after[0].output),
                    name=after[0].name,
                    axis=int(axis[0]),
                )
            )


def _add(graph: onnx.GraphProto, name: str, values: NDArray[np.int64]) -> str:
    graph.initializer.append(numpy_helper.from_array(values.astype(np.int64), name))
    return name


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Nodes and initializers that no output depends on."""
    needed = {one.name for one in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    initializers = [one for one in graph.initializer if one.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(initializers)
