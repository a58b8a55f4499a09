"""What is exported: an encoder with all that is known of it, and crops to check the file on.

A run brings its training crops and, where its data have query and gallery rows, those; a
published encoder brings nothing, and the user may give pictures.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge import clusters, model
from edge.clusters import ClusterRow, read_clusters
from edge.detection.boxes_file import BoxesFile
from edge.errors import InputError, MediaError
from edge.media import decode, read_bytes
from edge.pictures import Collection, read_collection
from edge.preprocess import InputSpec, crop, resize
from edge.text import printable
from trainer import checkpoint
from trainer.backbone import NO_WEIGHTS, LoadedBackbone
from trainer.data import Crops, load_crops
from trainer.encoder import Encoder
from trainer.evaluation.protocol import GALLERY, QUERY, TRAIN, Rules
from trainer.evaluation.public import OPEN_CLIP, Size, is_published, load_published
from trainer.evaluation.trial import Trial, load_trial
from trainer.narrator import Narrator
from trainer.rundir import boxes_of
from trainer.settings import LABEL_FREE

MAX_FIT_CROPS = 4000  # thresholds settle long before; keeps a large run's export in minutes
_MAX_SAMPLE = 512
_RULES = Rules(protocol="split", query_share=0.5, exclude_encounter=True)  # as fancl-eval's
_LOCAL = "timm:local-dir:"


@dataclass(frozen=True, kw_only=True)
class LabelledCrops:
    """Training crops of a run, and which of them show one animal."""

    images_NHWC: NDArray[np.uint8]
    label_N: NDArray[np.int64]  # -1: in no cluster
    burst_N: NDArray[np.int64]
    labels_from: Literal["pseudo-labels", "labels"]


@dataclass(frozen=True, kw_only=True)
class Source:
    encoder: Encoder
    input: InputSpec
    name: str  # of the model, where the user gives none
    method: str
    backbone: str
    weights: str  # where the start came from; "none": random
    training: model.Training
    crops: LabelledCrops | None  # None: not a run
    sample_NHWC: NDArray[np.uint8] | None  # for parity and int8; None: no pictures were given
    sample_from: str
    trial: Trial | None  # labelled query and gallery rows


def read_source(
    source: str, weights: str | None, size: Size | None, calibrate: Path | None, narrator: Narrator
) -> Source:
    """A run, a checkpoint inside one, or a published encoder by name.

    Raises InputError or WeightsError where it, or pictures it needs, cannot be had.
    """
    if is_published(source):
        return _published(source, load_published(source, weights, size), calibrate, narrator)
    if weights is not None or size is not None:
        flag = "--size" if weights is None else "--weights"
        raise InputError(f"{flag} is for published encoders (timm:NAME, open_clip:NAME); a run "
                         "carries its own")  # fmt: skip
    return _run(Path(source), calibrate, narrator)


def folder_of(run: Path) -> Path:
    """The run's folder, where one of its checkpoints may be named instead."""
    return run if run.is_dir() else run.parent


def _run(run: Path, calibrate: Path | None, narrator: Narrator) -> Source:
    stored = checkpoint.load_encoder(run)
    facts, folder = stored.facts, folder_of(run)
    config = _config_of(folder)
    if facts.method not in LABEL_FREE:
        crops, counts = _labelled_crops(folder, config, facts.input, narrator)
    else:
        crops, counts = _clustered_crops(folder, facts.input)
    sample, origin = crops.images_NHWC, "training crops"
    if calibrate is not None:
        sample, origin = _sample(read_collection(calibrate), facts.input, narrator), "given crops"
    return Source(
        encoder=stored.encoder,
        input=facts.input,
        name=folder.resolve().name,
        method=facts.method,
        backbone=_public_name(facts.backbone.name),
        weights=facts.weights,
        training=model.Training(
            data_digest=config["data_digest"],
            counts=counts,
            config={"epoch": facts.epoch, "weights": facts.weights, **config["settings"]},
            commit=config["commit"],
        ),
        crops=crops,
        sample_NHWC=sample,
        sample_from=origin,
        trial=_trial_of_run(folder, config, facts.input, narrator),
    )


def _config_of(folder: Path) -> dict[str, Any]:
    path = folder / checkpoint.CONFIG
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {path} ({error}); give the run's folder as fancl-train left it"
        ) from error
    return content


def _clustered_crops(folder: Path, spec: InputSpec) -> tuple[LabelledCrops, dict[str, int]]:
    rows = read_clusters(folder / clusters.FILE_NAME)
    chosen = _chosen(len(rows), MAX_FIT_CROPS)
    labels = np.array([row.pseudo_label for row in rows], np.int64)
    bursts = np.array([row.burst for row in rows], np.int64)
    crops = LabelledCrops(
        images_NHWC=np.stack([_read_crop(rows[index], spec) for index in chosen]),
        label_N=labels[chosen],
        burst_N=bursts[chosen],
        labels_from="pseudo-labels",
    )
    return crops, {"crops": len(rows), "clusters": int(labels.max(initial=-1)) + 1}


def _chosen(count: int, at_most: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).permutation(count)[:at_most]


def _read_crop(row: ClusterRow, spec: InputSpec) -> NDArray[np.uint8]:
    try:
        frame = decode(read_bytes(row.path))
    except MediaError as error:
        raise InputError(
            f"the run's training picture {printable(str(row.path))} cannot be read ({error}); the "
            "parity check and the thresholds need them: put the pictures back where they were"
        ) from error
    return resize(crop(frame.image_HWC, row.box), spec)


def _labelled_crops(
    folder: Path, config: dict[str, Any], spec: InputSpec, narrator: Narrator
) -> tuple[LabelledCrops, dict[str, int]]:
    """Those that a run with labels was trained on."""
    collection = read_collection(Path(config["data"]), TRAIN)
    crops = _load(collection, MAX_FIT_CROPS, spec, boxes_of(folder, config), narrator)
    names = [fact.picture.identity or "" for fact in crops.facts]
    bursts = [fact.picture.encounter or fact.sha256 for fact in crops.facts]
    identities, label_N = np.unique(names, return_inverse=True)
    labelled = LabelledCrops(
        images_NHWC=crops.images_NHWC,
        label_N=label_N.astype(np.int64),
        burst_N=np.unique(bursts, return_inverse=True)[1].astype(np.int64),
        labels_from="labels",
    )
    return labelled, {"crops": int(config["num_crops"]), "identities": len(identities)}


def _load(
    collection: Collection, at_most: int, spec: InputSpec, boxes: Path | None, narrator: Narrator
) -> Crops:
    chosen = _chosen(len(collection.pictures), at_most)
    return load_crops(
        dataclasses.replace(
            collection, pictures=tuple(collection.pictures[index] for index in chosen)
        ),
        spec,
        BoxesFile(boxes) if boxes else None,
        progress=lambda done, total: narrator.progress("reading pictures", done, total),
    )


def _trial_of_run(
    folder: Path, config: dict[str, Any], spec: InputSpec, narrator: Narrator
) -> Trial | None:
    data = Path(config["data"])
    if not data.exists():
        raise InputError(f"the run's data {data} are gone; put them back where they were")
    splits = {one.split for one in read_collection(data).pictures if one.identity is not None}
    if not {QUERY, GALLERY} <= splits:
        return None
    return load_trial(data, spec, boxes_of(folder, config), _RULES, narrator)


def _published(
    source: str, loaded: LoadedBackbone, calibrate: Path | None, narrator: Narrator
) -> Source:
    spec = InputSpec(
        height=loaded.spec.height, width=loaded.spec.width, resize="squash", pad_value=0
    )
    name = _public_name(source)
    sample, trial = None, None
    if calibrate is not None:
        collection = read_collection(calibrate)
        sample = _sample(collection, spec, narrator)
        trial = load_trial(calibrate, spec, None, _RULES, narrator) if collection.labelled else None
    if loaded.weights == NO_WEIGHTS:
        narrator.say(f"RANDOM WEIGHTS: {name} has learnt nothing, by --weights none")
    return Source(
        encoder=Encoder(loaded.spec, loaded.module).eval(),
        input=spec,
        name=name.rpartition(":")[2].rpartition("/")[2],
        method=model.PUBLISHED,
        backbone=name,
        weights=loaded.weights,
        # Nobody here knows what it was trained on: the empty digest is no picture's.
        training=model.Training(
            data_digest="",
            counts={},
            config={"weights": loaded.weights, "weights_sha256": loaded.sha256},
            commit=None,
        ),
        crops=None,
        sample_NHWC=sample,
        sample_from="drawn pictures" if sample is None else "given crops",
        trial=trial,
    )


def _public_name(source: str) -> str:
    """SOURCE without the folders of this computer."""
    for prefix in (_LOCAL, OPEN_CLIP):
        rest = source.removeprefix(prefix)
        if rest != source and (prefix == _LOCAL or rest.endswith(".json")):
            return prefix + Path(rest).resolve().name
    return source


def _sample(collection: Collection, spec: InputSpec, narrator: Narrator) -> NDArray[np.uint8]:
    """Pictures for parity and calibration: not those it is judged on, where the table tells."""
    others = tuple(one for one in collection.pictures if one.split not in (QUERY, GALLERY))
    chosen: Sequence[Any] = others or collection.pictures
    collection = dataclasses.replace(collection, pictures=tuple(chosen))
    return _load(collection, _MAX_SAMPLE, spec, None, narrator).images_NHWC
