"""The ONNX graph of an encoder: uint8 crops in, unit-length embeddings out."""

from __future__ import annotations

import warnings

import onnx
import torch
from torch import Tensor, nn

from edge.errors import ModelError
from edge.model import INPUT_NAME, OUTPUT_NAME
from edge.preprocess import InputSpec
from trainer.encoder import Encoder

OPSET = 18


class DeviceGraph(nn.Module):
    """What a device runs: normalisation, backbone, neck, whitening and unit length in one graph."""

    scale: Tensor
    shift: Tensor

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        # (x / 255 - mean) / std as one multiplication and one addition on the uint8 values.
        self.register_buffer("scale", (255.0 * encoder.std).reciprocal())
        self.register_buffer("shift", -encoder.mean / encoder.std)

    def forward(self, images: Tensor) -> Tensor:
        images_NCHW = images.permute(0, 3, 1, 2).float() * self.scale + self.shift
        return self.encoder.finish(self.encoder.backbone(images_NCHW))


def to_onnx(encoder: Encoder, spec: InputSpec) -> onnx.ModelProto:
    """The graph with a dynamic batch and no trace of the machine it was made on.

    Raises ModelError when the backbone cannot be expressed in ONNX.
    """
    graph = DeviceGraph(encoder).eval().cpu()
    # Two crops: with one, the exporter would take the batch for a constant.
    example = torch.zeros((2, spec.height, spec.width, 3), dtype=torch.uint8)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program = torch.onnx.export(
                graph,
                (example,),
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes={"images": {0: torch.export.Dim("n", min=1)}},
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ModelError(f"{encoder.spec.name} cannot be exported to ONNX: {error}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    assert program is not None
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Removes doc strings and the exporter's node metadata, which hold local paths."""
    model.producer_name, model.producer_version, model.doc_string = "fancl", "", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
