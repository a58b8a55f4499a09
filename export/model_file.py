"""One model file from one training run: graph, manifest, golden vectors, thresholds."""

from __future__ import annotations

import csv
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edge import model
from edge.detect import Box
from edge.encoder import Encoder as DeviceEncoder
from edge.errors import InputError, MediaError
from edge.media import decode, read_bytes
from edge.model import Manifest
from edge.preprocess import InputSpec, crop, resize
from export import parity, thresholds
from export.graph import to_onnx
from export.parity import Parity
from trainer import checkpoint
from trainer.checkpoint import StoredEncoder, write_atomically
from trainer.encoder import embed

_MAX_FIT_CROPS = 4000  # thresholds settle long before; keeps a large run's export in minutes
_NUM_GOLDEN = 4
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Exported:
    path: Path
    manifest: Manifest
    parity: Parity
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class _RunCrops:
    """Training crops of a run with their pseudo-labels, as read back from clusters.csv."""

    images_NHWC: NDArray[np.uint8]
    pseudo_label_N: NDArray[np.int64]
    burst_N: NDArray[np.int64]
    num_rows: int  # in clusters.csv
    num_clusters: int


def export_run(
    run: Path, out: Path, name: str | None, species: str | None, licence: str | None
) -> Exported:
    """Write the model file of a run, or raise and leave nothing behind.

    Raises InputError when the run or its pictures are not there, ModelError when the file does
    not give what the trained encoder gives.
    """
    stored = checkpoint.load_encoder(run)
    folder = run if run.is_dir() else run.parent
    config = _read_config(folder)
    crops = _read_crops(folder, config, stored.facts.input)
    graph = to_onnx(stored.encoder, stored.facts.input)
    golden = _golden_inputs(stored.facts.input)
    draft = _manifest(stored, config, crops, graph, golden, name or folder.name, species, licence)
    device_encoder = DeviceEncoder(_with_manifest(graph, draft))
    checked = crops.images_NHWC[: parity.MAX_CROPS]
    found = parity.measure(device_encoder, checked, embed(stored.encoder, checked, _CPU))
    parity.require(found, model.MIN_COSINE["fp32"])
    manifest = dataclasses.replace(
        draft,
        decision=thresholds.fit_on_pseudo_labels(
            device_encoder.embed(crops.images_NHWC), crops.pseudo_label_N, crops.burst_N
        ),
    )
    data = _with_manifest(graph, manifest)
    DeviceEncoder(data)  # what is written is what loads
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, data)
    return Exported(path=out, manifest=manifest, parity=found, num_bytes=len(data))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / checkpoint.CONFIG
    if not path.is_file() or not (folder / checkpoint.CLUSTERS).is_file():
        raise InputError(
            f"{folder} is not a training run (it needs {checkpoint.CONFIG} and "
            f"{checkpoint.CLUSTERS}); give the folder that fancl-train --out has written"
        )
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _read_crops(folder: Path, config: dict[str, Any], spec: InputSpec) -> _RunCrops:
    with (folder / checkpoint.CLUSTERS).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    data = Path(config["data"])
    root = data.parent if data.is_file() else data
    chosen = np.random.default_rng(0).permutation(len(rows))[:_MAX_FIT_CROPS]
    images = [_read_crop(root, rows[index], spec) for index in chosen]
    labels = np.array([int(row["pseudo_label"]) for row in rows], np.int64)
    bursts = np.array([int(row["burst"]) for row in rows], np.int64)
    return _RunCrops(
        images_NHWC=np.stack(images),
        pseudo_label_N=labels[chosen],
        burst_N=bursts[chosen],
        num_rows=len(rows),
        num_clusters=int(labels.max(initial=-1)) + 1,
    )


def _read_crop(root: Path, row: dict[str, str], spec: InputSpec) -> NDArray[np.uint8]:
    box = None
    if row["x"]:
        x, y, width, height = (float(row[key]) for key in ("x", "y", "width", "height"))
        box = Box(x=x, y=y, width=width, height=height, relative=True)
    try:
        frame = decode(read_bytes(root / row["path"]))
    except MediaError as error:
        raise InputError(
            f"the run's training picture {root / row['path']} cannot be read ({error}); the "
            "parity check and the thresholds need them: put the pictures back where they were"
        ) from error
    return resize(crop(frame.image_HWC, box), spec)


def _golden_inputs(spec: InputSpec) -> NDArray[np.uint8]:
    """Drawn blotches in few colours: nobody's pictures travel inside a model file."""
    rng = np.random.default_rng(20)
    coarse = (-(-spec.height // 8), -(-spec.width // 8))
    images = []
    for _ in range(_NUM_GOLDEN):
        palette = rng.integers(0, 256, (6, 3), dtype=np.uint8)
        blotches = palette[rng.integers(0, 6, coarse)]
        large = blotches.repeat(8, axis=0).repeat(8, axis=1)
        images.append(large[: spec.height, : spec.width])
    return np.stack(images)


def _manifest(
    stored: StoredEncoder,
    config: dict[str, Any],
    crops: _RunCrops,
    graph: onnx.ModelProto,
    golden_NHWC: NDArray[np.uint8],
    name: str,
    species: str | None,
    licence: str | None,
) -> Manifest:
    """The manifest without thresholds; those are fitted on the file itself."""
    facts = stored.facts
    return Manifest(
        format_version=model.FORMAT_VERSION,
        name=name,
        method=facts.method,
        backbone=facts.backbone.name,
        species=species,
        encoder_id=model.encoder_id(graph.SerializeToString()),
        input=facts.input,
        embedding_dim=stored.encoder.embedding_dim,
        precision="fp32",
        training=model.Training(
            data_digest=config["data_digest"],
            counts={"crops": crops.num_rows, "clusters": crops.num_clusters},
            config={"epoch": facts.epoch, "weights": facts.weights, **config["settings"]},
            commit=config["commit"],
        ),
        evaluation=None,
        decision=thresholds.NONE,
        calibration=None,
        golden=model.pack_golden(
            golden_NHWC, embed(stored.encoder, golden_NHWC, _CPU), model.MIN_COSINE["fp32"]
        ),
        licence=licence,
    )


def _with_manifest(graph: onnx.ModelProto, manifest: Manifest) -> bytes:
    whole = onnx.ModelProto()
    whole.CopyFrom(graph)
    onnx.helper.set_model_props(whole, {model.METADATA_KEY: model.manifest_to_json(manifest)})
    return bytes(whole.SerializeToString())
