"""An int8 graph from an fp32 one, calibrated on crops, by onnxruntime's quantiser.

Static QDQ: uint8 activations by their smallest and largest value, int8 weights with a scale a
channel. What stays fp32: the pixels' normalisation, the pool, neck, whitening and unit length,
and convolutions whose weights int8 does not carry (the first depthwise ones of MobileNets, whose
channels differ a thousandfold). These are found without labels, by the cosine on calibration
crops. The measurements behind every choice are in docs/LOG.md, 2026-11-21.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from edge.model import INPUT_NAME, OUTPUT_NAME
from export.graph import OPSET, strip
from export.parts import ends

NUM_CALIBRATION = 128  # 16 to 512 crops give the same figures
_NUM_CHECKED = 32
_BATCH = 16
_CLOSE = 0.99  # mean cosine to fp32 below which another way is looked for
_LAYER_MIN = 0.998  # a convolution that costs more by itself stays fp32
_WHITENING = "encoder.whitening.weight"
_CNN_TYPES = ("Conv", "Gemm", "MatMul", "Relu", "Clip", "Add", "MaxPool")
_TRANSFORMER_TYPES = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, kw_only=True)
class Int8Graph:
    model: ModelProto
    words: str  # how it was made
    cosine: float  # mean, to fp32, on the checked crops


def to_int8(graph: ModelProto, sample_NHWC: NDArray[np.uint8]) -> Int8Graph:
    """The static int8 form of `graph`; the dynamic one of a transformer that loses less by it.

    Static comes first because a dynamic embedding depends a little on what else is in the batch.
    """
    checked = sample_NHWC[-_NUM_CHECKED:]
    expected = run_graph(graph, checked)
    static = _static(graph, sample_NHWC[:NUM_CALIBRATION], checked, expected)
    if static.cosine >= _CLOSE or not _is_transformer(graph):
        return static
    return max(static, _dynamic(graph, checked, expected), key=lambda form: form.cosine)


def run_graph(graph: ModelProto, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embeddings, a batch at a time as in calibration."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    parts = [session.run([OUTPUT_NAME], {INPUT_NAME: one})[0] for one in _batches(images_NHWC)]
    return np.concatenate(parts)


def _batches(images_NHWC: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(images_NHWC), _BATCH):
        yield images_NHWC[start : start + _BATCH]


def _is_transformer(graph: ModelProto) -> bool:
    return any(node.op_type == "Softmax" for node in graph.graph.node)


def _static(
    graph: ModelProto,
    calibration_NHWC: NDArray[np.uint8],
    checked_NHWC: NDArray[np.uint8],
    expected_ND: NDArray[np.float32],
) -> Int8Graph:
    fragile = fragile_convolutions(graph, checked_NHWC, expected_ND)
    prepared = _copy(graph)
    apart = _set_apart(prepared, fragile)
    transformer = _is_transformer(graph)

    def quantise(path: Path) -> None:
        quantize_static(
            _copy(prepared),  # it changes what it is given
            path,
            _Reader(calibration_NHWC),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_TRANSFORMER_TYPES if transformer else _CNN_TYPES),
            per_channel=True,
            reduce_range=False,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*ends(prepared), *apart],
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"MatMulConstBOnly": True},
        )

    left = f", {len(fragile)} convolutions left in fp32" if fragile else ""
    words = f"static int8, calibrated on {len(calibration_NHWC)} crops{left}"
    return _judged(_to_file_and_back(quantise), words, checked_NHWC, expected_ND)


def _dynamic(
    graph: ModelProto, checked_NHWC: NDArray[np.uint8], expected_ND: NDArray[np.float32]
) -> Int8Graph:
    def quantise(path: Path) -> None:
        quantize_dynamic(
            _copy(graph),
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=ends(graph),
            extra_options={"MatMulConstBOnly": True},
        )

    words = "dynamic int8 (weights and products; scales from each batch)"
    return _judged(_to_file_and_back(quantise), words, checked_NHWC, expected_ND)


def _judged(
    model: ModelProto, words: str, images_NHWC: NDArray[np.uint8], expected_ND: NDArray[np.float32]
) -> Int8Graph:
    return Int8Graph(model=model, words=words, cosine=_cosine(model, images_NHWC, expected_ND))


def _cosine(
    model: ModelProto, images_NHWC: NDArray[np.uint8], expected_ND: NDArray[np.float32]
) -> float:
    return float(np.sum(run_graph(model, images_NHWC) * expected_ND, axis=1).mean())


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images_NHWC: NDArray[np.uint8]) -> None:
        self._batches = _batches(images_NHWC)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}


def _to_file_and_back(quantise: Callable[[Path], None]) -> ModelProto:
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantise(path)
        model = onnx.load(path)
    _halve_whitening(model)
    strip(model)
    assert not any(node.domain for node in model.graph.node)
    del model.opset_import[:]  # the quantiser declares domains of its own and uses none
    model.opset_import.append(helper.make_opsetid("", OPSET))
    onnx.checker.check_model(model)
    return model


def _halve_whitening(model: ModelProto) -> None:
    """The whitening is stored in fp16 and computed in fp32; in int8 it costs up to 0.4 mAP.

    A quadratic matrix, it is the larger half of a small encoder's file.
    """
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.name != _WHITENING:
            continue
        values = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, f"{_WHITENING}_fp16"))
        cast = helper.make_node(
            "Cast", [tensor.name], [_WHITENING], name="whitening", to=onnx.TensorProto.FLOAT
        )
        graph.node.insert(0, cast)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser advises on the root logger."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _copy(graph: ModelProto) -> ModelProto:
    whole = ModelProto()
    whole.CopyFrom(graph)
    return whole


def fragile_convolutions(
    graph: ModelProto, images_NHWC: NDArray[np.uint8], expected_ND: NDArray[np.float32]
) -> list[str]:
    """Names of the convolutions whose int8 weights alone turn embeddings by more than allowed."""
    trial = _copy(graph)
    tensors = {one.name: one for one in trial.graph.initializer}
    weights = {
        node.name: numpy_helper.to_array(tensors[node.input[1]])
        for node in trial.graph.node
        if node.op_type == "Conv" and node.input[1] in tensors
    }
    slots = {node.name: tensors[node.input[1]] for node in trial.graph.node if node.name in weights}

    def put(name: str, values: NDArray[np.float32]) -> None:
        slots[name].CopyFrom(numpy_helper.from_array(values, slots[name].name))

    for name, values in weights.items():
        put(name, rounded(values))
    if _cosine(trial, images_NHWC, expected_ND) >= _CLOSE:
        return []
    for name, values in weights.items():
        put(name, values)
    found = []
    for name, values in weights.items():
        put(name, rounded(values))
        if _cosine(trial, images_NHWC, expected_ND) < _LAYER_MIN:
            found.append(name)
        put(name, values)
    return found


def rounded(weight_OIHW: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights as int8 with a symmetric scale an output channel gives them back."""
    largest_O = np.abs(weight_OIHW).reshape(len(weight_OIHW), -1).max(axis=1)
    step = np.maximum(largest_O, 1e-12).reshape(-1, *[1] * (weight_OIHW.ndim - 1)) / 127
    back: NDArray[np.float32] = (np.round(weight_OIHW / step) * step).astype(np.float32)
    return back


def _set_apart(graph: ModelProto, names: list[str]) -> list[str]:
    """Puts a Max with the lowest number behind each named convolution; names what stays fp32.

    Without it onnxruntime (1.31, its optimiser WeightBiasQuantization) rounds the weights of a
    convolution between quantised neighbours after all, with one scale for all channels.
    """
    if not names:
        return []
    nodes = graph.graph.node
    lowest = np.array(np.finfo(np.float32).min, np.float32)
    graph.graph.initializer.append(numpy_helper.from_array(lowest, "lowest"))
    kept = []
    for name in names:
        last = next(node for node in nodes if node.name == name)
        kept.append(name)
        readers = [node for node in nodes if last.output[0] in node.input]
        if len(readers) == 1 and readers[0].op_type in ("Relu", "Clip"):
            last = readers[0]
            kept.append(last.name)
        _insert_behind(graph, last, f"{name}_apart")
    return kept


def _insert_behind(graph: ModelProto, node: NodeProto, name: str) -> None:
    output = node.output[0]
    node.output[0] = f"{output}_raw"
    apart = helper.make_node("Max", [f"{output}_raw", "lowest"], [output], name=name)
    position = next(at for at, one in enumerate(graph.graph.node) if one.name == node.name)
    graph.graph.node.insert(position + 1, apart)
