"""The encoders whose speed is measured: as torch has them, and as files that a device runs.

Their weights are drawn from a seed: what they answer means nothing, what they cost is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from edge import model
from edge.preprocess import InputSpec
from export.graph import to_onnx
from export.int8 import run_graph, to_int8
from trainer.backbone import load_backbone
from trainer.encoder import Encoder, embed

_SEED = 0
_NO_DECISION = model.Decision(
    source=None, match_threshold=None, new_threshold=None, wrong_name_rate=None, false_new_rate=None
)


@dataclass(frozen=True, kw_only=True)
class SpeedModel:
    name: str
    backbone: str
    height: int
    width: int
    precisions: tuple[str, ...]

    @property
    def spec(self) -> InputSpec:
        return InputSpec(height=self.height, width=self.width, resize="squash", pad_value=0)


MODELS = (
    SpeedModel(
        name="resnet50", backbone="resnet50", height=256, width=128, precisions=("fp32", "int8")
    ),
    SpeedModel(
        name="mobilenet",
        backbone="mobilenetv3_large_100",
        height=256,
        width=256,
        precisions=("fp32",),
    ),
    SpeedModel(
        name="vit-b-16",
        backbone="open_clip:ViT-B-16-quickgelu",
        height=224,
        width=224,
        precisions=("int8",),
    ),
)


def find_model(name: str) -> SpeedModel:
    return next(one for one in MODELS if one.name == name)


def torch_encoder(chosen: SpeedModel) -> Encoder:
    torch.manual_seed(_SEED)
    loaded = load_backbone(chosen.backbone, "none", chosen.height, chosen.width)
    return Encoder(loaded.spec, loaded.module).eval()


def make_file(chosen: SpeedModel, precision: str, folder: Path) -> Path:
    """FOLDER/NAME.PRECISION.onnx; made where it is not there yet."""
    path = folder / f"{chosen.name}.{precision}.onnx"
    if path.is_file():
        return path
    print(f"making {path.name} ...", flush=True)
    encoder = torch_encoder(chosen)
    graph = to_onnx(encoder, chosen.spec)
    if precision == "int8":
        graph = to_int8(graph, _blotches(chosen.spec, 24)).model
    images = _blotches(chosen.spec, 2)
    if precision == "int8":  # what it gives itself is what a device must reproduce
        golden_ND = run_graph(graph, images[:1]), run_graph(graph, images[1:])
        manifest = _manifest(chosen, precision, encoder, graph, np.concatenate(golden_ND))
    else:
        expected_ND = embed(encoder, images, torch.device("cpu"))
        manifest = _manifest(chosen, precision, encoder, graph, expected_ND)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_whole(graph, manifest))
    return path


def _manifest(
    chosen: SpeedModel,
    precision: str,
    encoder: Encoder,
    graph: onnx.ModelProto,
    golden_ND: np.ndarray,
) -> model.Manifest:
    return model.Manifest(
        format_version=model.FORMAT_VERSION,
        name=f"{chosen.name} {precision}",
        method=model.PUBLISHED,
        backbone=chosen.backbone,
        species=None,
        encoder_id=model.encoder_id(graph.SerializeToString()),
        input=chosen.spec,
        embedding_dim=encoder.embedding_dim,
        precision=precision,  # type: ignore[arg-type]
        training=model.Training(data_digest="0" * 64, counts={}, config={}, commit=None),
        evaluation=None,
        fidelity=None,
        decision=_NO_DECISION,
        calibration=None,
        golden=model.pack_golden(_blotches(chosen.spec, 2), golden_ND, model.MIN_COSINE[precision]),
        licence=None,
    )


def _whole(graph: onnx.ModelProto, manifest: model.Manifest) -> bytes:
    whole = onnx.ModelProto()
    whole.CopyFrom(graph)
    onnx.helper.set_model_props(whole, {model.METADATA_KEY: model.manifest_to_json(manifest)})
    return model.seal(whole.SerializeToString())


def _blotches(spec: InputSpec, count: int) -> np.ndarray:
    rng = np.random.default_rng(_SEED)
    coarse = rng.integers(0, 256, (count, spec.height // 16, spec.width // 16, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=1).repeat(16, axis=2)
