"""The model file: its manifest, and how a device reads both without the onnx package.

A model is one ONNX file with uint8 RGB crops in and unit-length embeddings out. What a device
must know beside the graph lies in `metadata_props["fancl"]` as one JSON manifest, written and
read here by field name: a missing or unknown key is refused, no field has a default.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import types
import typing
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.preprocess import InputSpec
from edge.text import printable

FORMAT_VERSION = 1
METADATA_KEY = "fancl"
INPUT_NAME = "images"  # uint8 [N, height, width, 3], RGB
OUTPUT_NAME = "embeddings"  # float32 [N, embedding_dim], unit length
MIN_COSINE: dict[str, float] = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.99}

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
    """(images_NHWC uint8, emb_ND float32)."""
    try:
        raw = zlib.decompress(base64.b64decode(golden.inputs))
        images = np.frombuffer(raw, np.uint8).reshape(golden.shape).copy()
        flat = np.frombuffer(base64.b64decode(golden.embeddings), "<f4")
        return images, flat.reshape(golden.shape[0], -1).astype(np.float32)
    except (ValueError, zlib.error) as error:
        raise ModelError(
            f"the model's golden vectors are damaged ({error}); copy it again"
        ) from error


def manifest_to_json(manifest: Manifest) -> str:
    return json.dumps(dataclasses.asdict(manifest), sort_keys=True)


def read_manifest(model_bytes: bytes) -> Manifest:
    """The manifest inside an ONNX file; raises ModelError when it is not one of ours."""
    for key, value in _metadata(model_bytes):
        if key == METADATA_KEY:
            return manifest_from_json(value)
    raise ModelError(
        "this ONNX file carries no fancl manifest; make one with `fancl-export RUN --onnx FILE`"
    )


def manifest_from_json(text: str) -> Manifest:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ModelError(
            f"the model's manifest is not JSON ({error}); copy the file again"
        ) from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise ModelError(
            f"the model is of format version {version}, this program reads {FORMAT_VERSION}; "
            "export it again with the same release of fancl as on this device"
        )
    return _build(Manifest, content, "manifest")


def encoder_id(model_bytes: bytes) -> str:
    """sha256 (hex) over the stored fields that decide what the encoder computes."""
    digest = hashlib.sha256()
    for number, _, start, end in _fields(model_bytes):
        if number in _ENCODER_FIELDS:
            digest.update(model_bytes[start:end])
    return digest.hexdigest()


def _metadata(model_bytes: bytes) -> Iterator[tuple[str, str]]:
    for number, payload, _, end in _fields(model_bytes):
        if number != _METADATA_PROPS:
            continue
        entry = model_bytes[payload:end]
        texts = {n: entry[p:e].decode("utf-8", "replace") for n, p, _, e in _fields(entry)}
        yield texts.get(1, ""), texts.get(2, "")


def _fields(message: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(field number, payload start, field start, field end) of a protobuf message, in order."""
    position = 0
    try:
        while position < len(message):
            start = position
            tag, position = _varint(message, position)
            payload, position = _payload(message, position, tag & 7)
            yield tag >> 3, payload, start, position
    except IndexError as error:
        raise ModelError("this is not a whole ONNX file; copy it again") from error


def _payload(message: bytes, position: int, wire_type: int) -> tuple[int, int]:
    """(payload start, payload end) behind a tag."""
    if wire_type == 0:
        return position, _varint(message, position)[1]
    if wire_type == 2:
        length, position = _varint(message, position)
        end = position + length
    elif wire_type in (1, 5):
        end = position + (8 if wire_type == 1 else 4)
    else:
        raise ModelError("this is not an ONNX file; give the .onnx that fancl-export wrote")
    if end > len(message):
        raise IndexError
    return position, end


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ModelError("this is not an ONNX file; give the .onnx that fancl-export wrote")


_T = TypeVar("_T")


def _build(kind: type[_T], content: Any, where: str) -> _T:
    """A dataclass from JSON: every field by name and type, none missing, none unknown."""
    if not isinstance(content, Mapping):
        raise ModelError(f"{where} must be a JSON object, not {type(content).__name__}")
    hints = typing.get_type_hints(kind)
    missing = sorted(hints.keys() - content.keys())
    unknown = sorted(content.keys() - hints.keys())
    if missing or unknown:
        faults = [f"lacks {_keys(missing)}"] if missing else []
        faults += [f"has {_keys(unknown)} that this program does not know"] if unknown else []
        raise ModelError(
            f"the model's {where} {' and '.join(faults)}; export it again with the release of "
            "fancl on this device"
        )
    return kind(**{name: _value(hints[name], content[name], f"{where}.{name}") for name in hints})


def _keys(names: list[str]) -> str:
    shown = ", ".join(printable(str(one)) for one in names)
    return f"the {'key' if len(names) == 1 else 'keys'} {shown}"


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _one_of(typing.get_args(hint), value, where)
    if origin is Literal:
        return _checked(value, value in typing.get_args(hint), hint, where)
    if origin is dict:
        _checked(value, isinstance(value, dict), hint, where)
        inner = typing.get_args(hint)[1]
        return {key: _value(inner, one, f"{where}.{key}") for key, one in value.items()}
    if origin is list:
        _checked(value, isinstance(value, list), hint, where)
        return [_value(typing.get_args(hint)[0], one, where) for one in value]
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, where)
    if hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(_checked(value, number, hint, where))
    if hint is type(None):
        return _checked(value, value is None, hint, where)
    return _checked(value, type(value) is hint, hint, where)


def _one_of(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    return _value(next(hint for hint in hints if hint is not type(None)), value, where)


def _checked(value: Any, fits: bool, hint: Any, where: str) -> Any:
    if not fits:
        raise ModelError(f"the model's {where} is {value!r}, which is not {hint}; export it again")
    return value
