"""The model file: its manifest, and how a device reads both without the onnx package.

A model is one ONNX file with uint8 RGB crops in and unit-length embeddings out. What a device
must know beside the graph lies in `metadata_props["fancl"]` as one JSON manifest, written and
read here by field name: a missing or unknown key is refused, no field has a default. The last
bytes of the file are a seal over all others. docs/model-format.md is the specification. Does not
cover what the graph may hold (edge/model_file/graph.py).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.model_file import protobuf, strict_json
from edge.model_file.protobuf import Budget
from edge.preprocess import InputSpec

FORMAT_VERSION = 1
METADATA_KEY = "fancl"
SEAL_KEY = "fancl_sha256"
PUBLISHED = "published"  # the method of an encoder that was not trained by this program
INPUT_NAME = "images"  # uint8 [N, height, width, 3], RGB
OUTPUT_NAME = "embeddings"  # float32 [N, embedding_dim], unit length
MIN_COSINE: dict[str, float] = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.99}

# Far above any sensible encoder; what claims more is damaged or hostile.
MAX_SIDE = 2048  # pixels
MAX_EMBEDDING_DIM = 65_536
MAX_GOLDEN_INPUTS = 64
MAX_GOLDEN_BYTES = 64 * 2**20

_HEX_DIGITS = 64  # of a sha256
# Top-level fields of onnx.ModelProto (onnx.proto): what the encoder computes is in these.
_IR_VERSION, _GRAPH, _OPSET_IMPORT, _METADATA_PROPS, _FUNCTIONS = 1, 7, 8, 14, 25
_ENCODER_FIELDS = frozenset({_IR_VERSION, _GRAPH, _OPSET_IMPORT, _FUNCTIONS})


@dataclass(frozen=True, kw_only=True)
class Training:
    data_digest: str  # sha256 over the sorted sha256 of the training pictures
    counts: dict[str, int]  # pictures, clusters, ...
    config: dict[str, Any]  # the resolved training settings
    commit: str | None  # of this project, where known


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures of this very file."""

    source: Literal["labels", "pseudo-labels"]  # who says which pictures show one animal
    protocol: str
    queries: int
    gallery: int
    rank1: float  # in [0, 1]
    mAP: float


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """A graph of low precision beside the fp32 graph it was made from, on the same crops."""

    num_crops: int
    mean_cosine: float
    low_cosine: float  # its 1st percentile
    rank1_fp32: float  # in [0, 1]; those of this file are in `evaluation`
    mAP_fp32: float
    tolerated_mAP_loss: float
    forced: bool  # kept although it lost more


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Similarity thresholds that travel with the model, and the error rates measured at them."""

    source: Literal["pseudo-labels", "labels"] | None
    match_threshold: float | None
    new_threshold: float | None
    wrong_name_rate: float | None  # of strangers' groups: share given a known name
    false_new_rate: float | None  # of known groups: share called new


@dataclass(frozen=True, kw_only=True)
class Golden:
    """A few inputs with the embeddings that the exporter saw: a device must reproduce them."""

    shape: list[int]  # of the inputs: [n, height, width, 3]
    inputs: str  # base64 of zlib of the uint8 values
    embeddings: str  # base64 of little-endian float32 [n, embedding_dim]
    min_cosine: float


@dataclass(frozen=True, kw_only=True)
class Manifest:
    format_version: int
    name: str
    method: str
    backbone: str
    species: str | None
    encoder_id: str
    input: InputSpec
    embedding_dim: int
    precision: Literal["fp32", "fp16", "int8"]
    training: Training
    evaluation: Evaluation | None
    fidelity: Fidelity | None  # of fp16 and int8
    decision: Decision
    calibration: None
    golden: Golden
    licence: str | None


def pack_golden(
    images_NHWC: NDArray[np.uint8], emb_ND: NDArray[np.float32], min_cosine: float
) -> Golden:
    return Golden(
        shape=list(images_NHWC.shape),
        inputs=base64.b64encode(zlib.compress(images_NHWC.tobytes(), 9)).decode(),
        embeddings=base64.b64encode(emb_ND.astype("<f4").tobytes()).decode(),
        min_cosine=min_cosine,
    )


def unpack_golden(golden: Golden) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(images_NHWC uint8, emb_ND float32); never more bytes than the shape says."""
    size = int(np.prod(golden.shape, dtype=object))
    try:
        if not 0 < size <= MAX_GOLDEN_BYTES:
            raise ValueError(f"{size} bytes of pixels")
        stream = zlib.decompressobj()
        raw = stream.decompress(base64.b64decode(golden.inputs, validate=True), size + 1)
        if len(raw) != size or not stream.eof:
            raise ValueError("not as many pixels as their shape says")
        images = np.frombuffer(raw, np.uint8).reshape(golden.shape).copy()
        flat = np.frombuffer(base64.b64decode(golden.embeddings, validate=True), "<f4")
        return images, flat.reshape(golden.shape[0], -1).astype(np.float32)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise ModelError(
            f"the model's golden vectors are damaged ({error}); copy it again"
        ) from error


def manifest_to_json(manifest: Manifest) -> str:
    return json.dumps(dataclasses.asdict(manifest), sort_keys=True, allow_nan=False)


def seal(unsealed: bytes) -> bytes:
    """A whole ONNX file with its seal: a last metadata property, the sha256 of all before it."""
    return unsealed + _seal_of(unsealed)


def claimed_seal(last_bytes: bytes) -> str | None:
    """The sha256 (hex) that the last SEAL_BYTES of a file claim; None where they are no seal."""
    claimed = last_bytes[-_HEX_DIGITS:].decode("ascii", "replace")
    return claimed if last_bytes == _seal_entry(claimed) else None


def read_manifest(model_bytes: bytes) -> Manifest:
    """The manifest of a whole and unchanged model file; raises ModelError for any other."""
    unsealed = memoryview(model_bytes)[:-SEAL_BYTES]
    if model_bytes[len(unsealed) :] != _seal_of(unsealed):
        _require_manifest(_metadata(model_bytes))
        raise ModelError(
            "the model is not as fancl-export wrote it: the file is damaged or was changed; copy "
            "it again"
        )
    manifest = manifest_from_json(_require_manifest(_metadata(model_bytes)))
    _require_sense(manifest)
    return manifest


def manifest_from_json(text: str) -> Manifest:
    content = strict_json.parse(text)
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise ModelError(
            f"the model is of format version {version!r:.20}, this program reads "
            f"{FORMAT_VERSION}; export it again with the same release of fancl as on this device"
        )
    return strict_json.build(Manifest, content, "manifest")


def encoder_id(model_bytes: bytes) -> str:
    """sha256 (hex) over the stored fields that decide what the encoder computes."""
    digest = hashlib.sha256()
    for field in protobuf.fields(model_bytes, Budget()):
        if field.number in _ENCODER_FIELDS:
            digest.update(field.stored)
    return digest.hexdigest()


def _seal_of(unsealed: bytes | memoryview) -> bytes:
    return _seal_entry(hashlib.sha256(unsealed).hexdigest())


def _seal_entry(sha256: str) -> bytes:
    key, value = SEAL_KEY.encode(), sha256.encode()
    entry = b"\x0a%c%b\x12%c%b" % (len(key), key, len(value), value)
    return b"%c%c%b" % (_METADATA_PROPS << 3 | protobuf.BYTES, len(entry), entry)


SEAL_BYTES = len(_seal_entry("0" * _HEX_DIGITS))


def _metadata(model_bytes: bytes) -> list[tuple[str, str]]:
    """The metadata properties, in stored order."""
    budget = Budget()
    found = []
    for field in protobuf.fields(model_bytes, budget):
        if field.number == _METADATA_PROPS:
            parts = protobuf.fields(field.payload, budget)
            texts = {part.number: protobuf.text(part.payload) for part in parts}
            found.append((texts.get(1, ""), texts.get(2, "")))
    return found


def _require_manifest(metadata: list[tuple[str, str]]) -> str:
    manifests = [value for key, value in metadata if key == METADATA_KEY]
    if not manifests:
        raise ModelError(
            "this ONNX file carries no fancl manifest; make one with `fancl-export RUN --onnx FILE`"
        )
    if len(manifests) > 1:
        raise ModelError("this ONNX file carries several fancl manifests; export it again")
    return manifests[0]


def _require_sense(manifest: Manifest) -> None:
    """Raises ModelError when a number of the manifest cannot be."""
    spec, golden, decision = manifest.input, manifest.golden, manifest.decision
    match, new = decision.match_threshold, decision.new_threshold
    sensible = {
        "input.height": 1 <= spec.height <= MAX_SIDE,
        "input.width": 1 <= spec.width <= MAX_SIDE,
        "input.pad_value": 0 <= spec.pad_value <= 255,
        "embedding_dim": 1 <= manifest.embedding_dim <= MAX_EMBEDDING_DIM,
        "golden.shape": golden.shape[1:] == [spec.height, spec.width, 3]
        and 1 <= golden.shape[0] <= MAX_GOLDEN_INPUTS,
        "golden.min_cosine": MIN_COSINE[manifest.precision] <= golden.min_cosine <= 1,
        "decision.match_threshold": match is None or -1 <= match <= 1,
        "decision.new_threshold": (new is None) == (match is None)
        and (new is None or match is None or -1 <= new <= match),
        "decision.wrong_name_rate": _is_share(decision.wrong_name_rate),
        "decision.false_new_rate": _is_share(decision.false_new_rate),
    }
    figures = manifest.evaluation
    if figures is not None:
        sensible["evaluation.rank1"] = _is_share(figures.rank1)
        sensible["evaluation.mAP"] = _is_share(figures.mAP)
    for where, is_so in sensible.items():
        if not is_so:
            raise ModelError(f"the model's manifest.{where} cannot be; export it again")


def _is_share(value: float | None) -> bool:
    return value is None or 0 <= value <= 1
