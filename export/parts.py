"""Which nodes of an exported graph are the backbone's own."""

from __future__ import annotations

from onnx import ModelProto

_WEIGHTED = ("Conv", "Gemm", "MatMul", "LayerNormalization")
_IN_PLACE = ("Relu", "Clip", "Add")
_HEAD = ("encoder.neck.", "encoder.whitening.")


def ends(graph: ModelProto) -> list[str]:
    """Names of the nodes before the backbone's first weights and behind its last.

    These normalise pixels, pool, and make embeddings of what the backbone gives: a thousandth of
    the work, and where low precision costs most.
    """
    nodes = list(graph.graph.node)
    weighted = [
        index
        for index, node in enumerate(nodes)
        if node.op_type in _WEIGHTED and not any(name.startswith(_HEAD) for name in node.input)
    ]
    end = weighted[-1] + 1
    while nodes[end].op_type in _IN_PLACE:
        end += 1
    return [node.name for node in (*nodes[: weighted[0]], *nodes[end:])]
