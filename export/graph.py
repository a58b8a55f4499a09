"""The ONNX graph of an encoder: uint8 crops in, unit-length embeddings out."""

from __future__ import annotations

import copy
import logging
import warnings

import onnx
import torch
from torch import Tensor, nn

from edge.errors import ModelError
from edge.model import INPUT_NAME, OUTPUT_NAME
from edge.preprocess import InputSpec
from export.simplify import simplify
from trainer.encoder import Encoder, unit

# Opset 20 has GELU as one node. It came with onnx 1.15 and IR version 9; onnxruntime reads both
# since 1.17, a device's is 1.24 (1.23 on Python 3.10).
OPSET, IR_VERSION = 20, 9


class DeviceGraph(nn.Module):
    """What a device runs: normalisation, backbone, neck, whitening and unit length in one graph."""

    scale: Tensor
    shift: Tensor

    def __init__(self, encoder: Encoder, half: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.half_backbone = half
        # (x / 255 - mean) / std as one multiplication and one addition on the uint8 values.
        self.register_buffer("scale", (255.0 * encoder.std).reciprocal())
        self.register_buffer("shift", -encoder.mean / encoder.std)
        self.has_neck = not _does_nothing(encoder.neck)

    def forward(self, images: Tensor) -> Tensor:
        images_NCHW = images.permute(0, 3, 1, 2).float() * self.scale + self.shift
        if self.half_backbone:
            images_NCHW = images_NCHW.half()
        values_ND = self.encoder.backbone(images_NCHW).float()
        return self.encoder.finish(values_ND) if self.has_neck else unit(values_ND)


def to_onnx(encoder: Encoder, spec: InputSpec, half: bool = False) -> onnx.ModelProto:
    """The graph with a dynamic batch and no trace of the machine it was made on.

    With `half` the backbone is fp16; what comes before and behind it stays fp32, where the sums
    of squares of unit length could overflow. Raises ModelError when the backbone cannot be
    expressed in ONNX.
    """
    graph = _plain(DeviceGraph(encoder, half))
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # what it leaves unfolded
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
    _require_opset(model, encoder.spec.name)
    model.ir_version = IR_VERSION
    strip(model)
    simplify(model)
    onnx.checker.check_model(model)
    return model


class _Attention(nn.Module):
    """torch's attention as three products and a softmax, for which ONNX needs no shapes."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        assert attention.in_proj_bias is not None
        self.heads, self.width = attention.num_heads, attention.head_dim
        self.batch_first = attention.batch_first
        self.in_weights = nn.ParameterList(attention.in_proj_weight.chunk(3))
        self.in_biases = nn.ParameterList(attention.in_proj_bias.chunk(3))
        self.out = attention.out_proj

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        given = (query, key, value)
        if not self.batch_first:
            given = (query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1))
        projected = zip(given, self.in_weights, self.in_biases, strict=True)
        # [batch, positions, heads, width of a head]
        q, k, v = (
            torch.unflatten(nn.functional.linear(one, weight, bias), 2, (self.heads, self.width))
            for one, weight, bias in projected
        )
        score = (q.transpose(1, 2) * self.width**-0.5) @ k.permute(0, 2, 3, 1)
        if attn_mask is not None:
            score = score + attn_mask
        mixed = score.softmax(dim=-1) @ v.transpose(1, 2)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return (result if self.batch_first else result.transpose(0, 1)), None


def _is_plain(attention: nn.MultiheadAttention) -> bool:
    return (
        attention.in_proj_weight is not None
        and attention.in_proj_bias is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
    )


class _Mean(nn.Module):
    """Average pooling to a point; torch's adaptive form becomes a gather over the batch."""

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        return maps_NCHW.mean(dim=(2, 3), keepdim=True)


def _plain(graph: DeviceGraph) -> DeviceGraph:
    """A copy on the CPU whose modules are written the way that exports to the fewest nodes."""
    graph = copy.deepcopy(graph).eval().cpu()
    for parent in list(graph.modules()):
        if getattr(parent, "fused_attn", False):
            # timm's: two products and a softmax instead of 15 nodes
            parent.__dict__["fused_attn"] = False
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
                setattr(parent, name, _Mean())
            elif isinstance(child, nn.MultiheadAttention) and _is_plain(child):
                setattr(parent, name, _Attention(child))
    if graph.half_backbone:
        graph.encoder.backbone.half()
    return graph


def _does_nothing(neck: nn.BatchNorm1d) -> bool:
    """Whether the neck is as a published encoder has it: one scale for all, lost in unit length."""
    assert neck.running_mean is not None
    assert neck.running_var is not None
    zeros, ones = (neck.running_mean, neck.bias), (neck.running_var, neck.weight)
    return not any(one.any() for one in zeros) and all((one == 1).all() for one in ones)


def _require_opset(model: onnx.ModelProto, name: str) -> None:
    """Raises ModelError where the exporter has chosen another opset, or operators of its own."""
    found = {one.domain: one.version for one in model.opset_import}
    if found.get("") != OPSET or any(node.domain for node in model.graph.node):
        raise ModelError(
            f"{name} needs other operators than opset {OPSET} of ONNX has (found {found}); it "
            "cannot be exported with this torch"
        )
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))


def strip(model: onnx.ModelProto) -> None:
    """Removes doc strings and the exporter's node metadata, which hold local paths."""
    model.producer_name, model.producer_version, model.doc_string = "fancl", "", ""
    model.domain, model.model_version = "", 0
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
