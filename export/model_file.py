"""One model file from one training run: graph, manifest, golden vectors, thresholds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edge import clusters, model
from edge.clusters import ClusterRow, read_clusters
from edge.encoder import Encoder as DeviceEncoder
from edge.errors import InputError, MediaError
from edge.media import decode, read_bytes
from edge.model import Manifest
from edge.preprocess import InputSpec, crop, resize
from edge.text import printable
from export import parity, thresholds
from export.card import write_card
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
class Description:
    """What people read about a model."""

    name: str
    species: str | None
    licence: str | None


@dataclass(frozen=True, kw_only=True)
class RunCrops:
    """Training crops of a run with their pseudo-labels."""

    images_NHWC: NDArray[np.uint8]
    pseudo_label_N: NDArray[np.int64]
    burst_N: NDArray[np.int64]
    num_rows: int  # in clusters.csv
    num_clusters: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a run gives to the model file."""

    stored: StoredEncoder
    config: dict[str, Any]  # the run's config.json
    crops: RunCrops


def export_run(
    run: Path, out: Path, name: str | None, species: str | None, licence: str | None
) -> Exported:
    """Write the model file of a run, or raise and leave nothing behind.

    Raises InputError when the run or its pictures are not there, ModelError when the file does
    not give what the trained encoder gives.
    """
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent} to write {out.name} into; make it first")
    folder = _folder_of(run)
    source = read_source(run)
    graph = to_onnx(source.stored.encoder, source.stored.facts.input)
    description = Description(name=name or folder.resolve().name, species=species, licence=licence)
    return write_checked(source, graph, description, out)


def read_source(run: Path) -> Source:
    """The run's encoder and training crops; raises InputError when they are not there."""
    stored = checkpoint.load_encoder(run)
    folder = _folder_of(run)
    rows = read_clusters(folder / clusters.FILE_NAME)
    config = json.loads((folder / checkpoint.CONFIG).read_text(encoding="utf-8"))
    return Source(stored=stored, config=config, crops=_read_crops(rows, stored.facts.input))


def write_checked(
    source: Source, graph: onnx.ModelProto, description: Description, out: Path
) -> Exported:
    """Write `graph` as the model file of `source`.

    Raises ModelError, and leaves nothing behind, when it does not give what the trained encoder
    gives.
    """
    encoder, crops = source.stored.encoder, source.crops
    draft = _manifest(source, graph, description)
    device_encoder = DeviceEncoder(_with_manifest(graph, draft))
    checked = crops.images_NHWC[: parity.MAX_CROPS]
    found = parity.measure(device_encoder, checked, embed(encoder, checked, _CPU))
    parity.require(found, model.MIN_COSINE["fp32"])
    manifest = dataclasses.replace(
        draft,
        decision=thresholds.fit_on_pseudo_labels(
            device_encoder.embed(crops.images_NHWC), crops.pseudo_label_N, crops.burst_N
        ),
    )
    data = _with_manifest(graph, manifest)
    DeviceEncoder(data)  # what is written is what loads
    write_atomically(out, data)
    write_card(out, manifest)
    return Exported(path=out, manifest=manifest, parity=found, num_bytes=len(data))


def _folder_of(run: Path) -> Path:
    """The run's folder, where one of its checkpoints may be named instead."""
    return run if run.is_dir() else run.parent


def _read_crops(rows: Sequence[ClusterRow], spec: InputSpec) -> RunCrops:
    chosen = np.random.default_rng(0).permutation(len(rows))[:_MAX_FIT_CROPS]
    images = [_read_crop(rows[index], spec) for index in chosen]
    labels = np.array([row.pseudo_label for row in rows], np.int64)
    bursts = np.array([row.burst for row in rows], np.int64)
    return RunCrops(
        images_NHWC=np.stack(images),
        pseudo_label_N=labels[chosen],
        burst_N=bursts[chosen],
        num_rows=len(rows),
        num_clusters=int(labels.max(initial=-1)) + 1,
    )


def _read_crop(row: ClusterRow, spec: InputSpec) -> NDArray[np.uint8]:
    try:
        frame = decode(read_bytes(row.path))
    except MediaError as error:
        raise InputError(
            f"the run's training picture {printable(str(row.path))} cannot be read ({error}); the "
            "parity check and the thresholds need them: put the pictures back where they were"
        ) from error
    return resize(crop(frame.image_HWC, row.box), spec)


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


def _manifest(source: Source, graph: onnx.ModelProto, description: Description) -> Manifest:
    """The manifest without thresholds; those are fitted on the file itself."""
    stored, config, crops = source.stored, source.config, source.crops
    facts = stored.facts
    golden_NHWC = _golden_inputs(facts.input)
    return Manifest(
        format_version=model.FORMAT_VERSION,
        name=description.name,
        method=facts.method,
        backbone=facts.backbone.name,
        species=description.species,
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
        fidelity=None,
        decision=thresholds.NONE,
        calibration=None,
        golden=model.pack_golden(
            golden_NHWC, embed(stored.encoder, golden_NHWC, _CPU), model.MIN_COSINE["fp32"]
        ),
        licence=description.licence,
    )


def _with_manifest(graph: onnx.ModelProto, manifest: Manifest) -> bytes:
    whole = onnx.ModelProto()
    whole.CopyFrom(graph)
    onnx.helper.set_model_props(whole, {model.METADATA_KEY: model.manifest_to_json(manifest)})
    return model.seal(whole.SerializeToString())
