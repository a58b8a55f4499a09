"""One model file from one encoder: graph, manifest, golden vectors, figures, thresholds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from edge import model
from edge.encoder import Encoder as DeviceEncoder
from edge.encoder import encoder_of
from edge.errors import InputError
from edge.model import Manifest
from edge.preprocess import InputSpec
from export import fidelity, parity, thresholds
from export.card import write_card
from export.exam import Exam, evaluate, exam_of
from export.fidelity import Tolerance
from export.graph import to_onnx
from export.parity import Parity
from export.source import Source, read_source
from trainer.checkpoint import write_atomically
from trainer.encoder import embed
from trainer.evaluation.public import Size
from trainer.narrator import Narrator

Precision = Literal["fp32", "fp16", "int8"]
_NUM_GOLDEN, _NUM_DRAWN = 4, 16
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What the user asked for."""

    source: str
    out: Path
    weights: str | None
    size: Size | None
    calibrate: Path | None  # pictures for parity, int8 and, where labelled, the figures
    precision: Precision
    tolerance: Tolerance
    name: str | None
    species: str | None
    licence: str | None


@dataclass(frozen=True, kw_only=True)
class Exported:
    path: Path
    manifest: Manifest
    parity: Parity  # of the fp32 graph with the encoder
    num_bytes: int
    how: str  # the precision was reached


@dataclass(frozen=True, kw_only=True)
class Description:
    """What people read about a model."""

    name: str
    species: str | None
    licence: str | None


@dataclass(frozen=True, kw_only=True)
class _Lowered:
    graph: ModelProto
    how: str


def export_model(request: ExportRequest, narrator: Narrator) -> Exported:
    """Write the model file, or raise and leave nothing behind.

    Raises InputError or WeightsError when the source or its pictures are not there, ModelError
    when the file does not give what the encoder gives or a low precision loses too much.
    """
    out = request.out
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent} to write {out.name} into; make it first")
    source = read_source(request.source, request.weights, request.size, request.calibrate, narrator)
    description = Description(
        name=request.name or source.name, species=request.species, licence=request.licence
    )
    _refuse_unjudged(request.precision, source)
    narrator.say("writing the graph ...")
    graph = to_onnx(source.encoder, source.input)
    return write_checked(source, graph, description, request, narrator)


def _refuse_unjudged(precision: Precision, source: Source) -> None:
    if precision != "fp32" and exam_of(source) is None:
        raise InputError(_unjudged(precision))


def _unjudged(precision: Precision) -> str:
    return (
        f"nothing tells what {precision} costs this encoder: give labelled pictures with "
        "--calibrate DATA (an identity column, or one folder an animal), two or more of some animal"
    )


def write_checked(
    source: Source,
    graph: ModelProto,
    description: Description,
    request: ExportRequest,
    narrator: Narrator,
) -> Exported:
    """Write `graph`, in the precision asked for, as the model file of `source`.

    Raises ModelError, and leaves nothing behind, when it does not give what the encoder gives.
    """
    draft = _manifest(source, graph, description)
    parent = encoder_of(_with_manifest(graph, draft))
    found = _require_parity(source, parent)
    exam = exam_of(source)
    if request.precision == "fp32":
        how, manifest = "fp32", dataclasses.replace(draft, evaluation=evaluate(exam, parent))
    else:
        assert exam is not None
        narrator.say(f"making it {request.precision} ...")
        lowered = _lower(request.precision, graph, source)
        how, graph = lowered.how, lowered.graph
        manifest = _low_manifest(draft, graph, request, parent, exam)
    shipped = encoder_of(_with_manifest(graph, manifest))
    manifest = dataclasses.replace(manifest, decision=_decision(source, shipped))
    data = _with_manifest(graph, manifest)
    encoder_of(data)  # what is written is what loads
    write_atomically(request.out, data)
    write_card(request.out, manifest)
    return Exported(path=request.out, manifest=manifest, parity=found, num_bytes=len(data), how=how)


def _require_parity(source: Source, device_encoder: DeviceEncoder) -> Parity:
    sample_NHWC = source.sample_NHWC
    checked = _drawn(source.input, _NUM_DRAWN) if sample_NHWC is None else sample_NHWC
    checked = checked[: parity.MAX_CROPS]
    expected_ND = embed(source.encoder, checked, _CPU)
    found = parity.measure(device_encoder, checked, expected_ND, source.sample_from)
    parity.require(found, model.MIN_COSINE["fp32"])
    return found


def _lower(precision: Precision, graph: ModelProto, source: Source) -> _Lowered:
    if precision == "fp16":
        half = to_onnx(source.encoder, source.input, half=True)
        return _Lowered(
            graph=half, how="fp16, for GPUs; checked through onnxruntime's CPU provider"
        )
    from export.int8 import to_int8

    assert source.sample_NHWC is not None
    made = to_int8(graph, source.sample_NHWC)
    return _Lowered(graph=made.model, how=made.words)


def _low_manifest(
    draft: Manifest, graph: ModelProto, request: ExportRequest, parent: DeviceEncoder, exam: Exam
) -> Manifest:
    """The manifest of a graph of low precision, but for thresholds.

    Raises ModelError where it loses more than tolerated.
    """
    precision = request.precision
    images_NHWC, _ = model.unpack_golden(draft.golden)
    own_id = model.encoder_id(graph.SerializeToString())
    low = dataclasses.replace(draft, encoder_id=own_id, precision=precision)
    encoder = encoder_of(_with_manifest(graph, low))
    parent_ND, own_ND = parent.embed(exam.images_NHWC), encoder.embed(exam.images_NHWC)
    before, after = exam.result(parent_ND), exam.result(own_ND)
    if not before.queries:
        raise InputError(_unjudged(precision))
    cost = fidelity.compare(parent_ND, own_ND, before, after, request.tolerance)
    fidelity.require(precision, cost, after)
    return dataclasses.replace(
        low,
        evaluation=after,
        fidelity=cost,
        golden=model.pack_golden(
            images_NHWC, encoder.embed(images_NHWC), model.MIN_COSINE[precision]
        ),
    )


def _decision(source: Source, shipped: DeviceEncoder) -> model.Decision:
    crops = source.crops
    if crops is None:
        return thresholds.NONE
    emb_ND = shipped.embed(crops.images_NHWC)
    return thresholds.fit(emb_ND, crops.label_N, crops.burst_N, crops.labels_from)


def _drawn(spec: InputSpec, count: int) -> NDArray[np.uint8]:
    """Drawn blotches in few colours: nobody's pictures travel inside a model file."""
    rng = np.random.default_rng(20)
    coarse = (-(-spec.height // 8), -(-spec.width // 8))
    images = []
    for _ in range(count):
        palette = rng.integers(0, 256, (6, 3), dtype=np.uint8)
        blotches = palette[rng.integers(0, 6, coarse)]
        large = blotches.repeat(8, axis=0).repeat(8, axis=1)
        images.append(large[: spec.height, : spec.width])
    return np.stack(images)


def _manifest(source: Source, graph: ModelProto, description: Description) -> Manifest:
    """The manifest without figures and thresholds; those are measured on the file itself."""
    golden_NHWC = _drawn(source.input, _NUM_GOLDEN)
    return Manifest(
        format_version=model.FORMAT_VERSION,
        name=description.name,
        method=source.method,
        backbone=source.backbone,
        species=description.species,
        encoder_id=model.encoder_id(graph.SerializeToString()),
        input=source.input,
        embedding_dim=source.encoder.embedding_dim,
        precision="fp32",
        training=source.training,
        evaluation=None,
        fidelity=None,
        decision=thresholds.NONE,
        calibration=None,
        golden=model.pack_golden(
            golden_NHWC, embed(source.encoder, golden_NHWC, _CPU), model.MIN_COSINE["fp32"]
        ),
        licence=description.licence,
    )


def _with_manifest(graph: ModelProto, manifest: Manifest) -> bytes:
    whole = onnx.ModelProto()
    whole.CopyFrom(graph)
    onnx.helper.set_model_props(whole, {model.METADATA_KEY: model.manifest_to_json(manifest)})
    return model.seal(whole.SerializeToString())
