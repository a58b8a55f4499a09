"""Damaged and hostile model files: refused with a sentence, before onnxruntime sees a byte."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import random
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edge import model
from edge.encoder import encoder_of, open_encoder
from edge.errors import ModelError
from edge.model_file import protobuf
from edge.model_file.protobuf import Budget

from .conftest import SIDE, block, number, onnx_bytes, tiny_manifest, write_model

SEAL_LENGTH = len(model.seal(b""))


@pytest.fixture
def no_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """onnxruntime must not be asked to load anything."""
    tiny_manifest()  # asks it once for its golden vectors
    given: list[Any] = []
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *words, **_: given.append(words))
    yield
    assert given == []


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def with_content(**changes: Any) -> bytes:
    """A sealed model file whose manifest has other values; objects are changed key by key."""
    content = json.loads(model.manifest_to_json(tiny_manifest()))
    for key, value in changes.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    return onnx_bytes(json.dumps(content))


def test_a_flipped_bit_anywhere_is_refused(tiny_model: Path, no_session: None) -> None:
    """1,000 places: every part of the file, and the seal itself bit by bit."""
    data = tiny_model.read_bytes()
    body, whole = 8 * (len(data) - SEAL_LENGTH), 8 * len(data)
    places = random.Random(3).sample(range(body), 1000 - 8 * SEAL_LENGTH)
    for bit in (*places, *range(body, whole)):
        with pytest.raises(ModelError, match=r"copy it again|no fancl manifest|not an ONNX"):
            encoder_of(flipped(data, bit))
    manifest_at = data.index(b"{")
    assert sum(bit // 8 > manifest_at for bit in places) > 30  # the name and figures count too


def test_a_file_cut_anywhere_is_refused(tiny_model: Path, no_session: None) -> None:
    data = tiny_model.read_bytes()
    cuts = {
        *range(1, 200),
        *range(len(data) - 2 * SEAL_LENGTH, len(data)),
        *range(0, len(data), 97),
    }
    for end in sorted(cuts - {0}):
        with pytest.raises(ModelError):
            encoder_of(data[:end])


def test_bytes_behind_the_end_are_refused(tiny_model: Path, no_session: None) -> None:
    data = tiny_model.read_bytes()
    for tail in (b"\n", data, block(14, block(1, "note") + block(2, "x"))):
        with pytest.raises(ModelError):
            encoder_of(data + tail)


def test_a_changed_graph_is_refused_even_with_a_new_seal(no_session: None) -> None:
    data = onnx_bytes(model.manifest_to_json(tiny_manifest()))
    body = data[:-SEAL_LENGTH]
    graph = 8 * data.index(b"{")  # all before it is the graph and what imports it
    for bit in random.Random(4).sample(range(graph - 128), 100):
        with pytest.raises(ModelError):
            encoder_of(model.seal(flipped(body, bit)))
    with pytest.raises(ModelError, match=r"graph has the id .* the file is damaged"):
        encoder_of(model.seal(flipped(body, 8 * 5000)))


def test_another_name_with_a_new_seal_is_another_model_with_the_same_encoder() -> None:
    encoder = encoder_of(with_content(name="other"))
    assert encoder.manifest.name == "other"
    assert encoder.manifest.encoder_id == tiny_manifest().encoder_id


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("model.onnx", b"x" * 100)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"\x0b",  # a group begins
        b"\x00" * 40,  # field number 0
        b"\xff" * 30,  # a number without end
        b"\x8a\x80\x80\x80\x10\x00",  # a field number of more than 29 bits
        block(14, b"\xff" * 11),
        b"\x72\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a field of 2^63 bytes
        b"hello",
        b"{}",
        zipped(),
        random.Random(5).randbytes(3000),
    ],
)
def test_what_is_no_onnx_file_is_refused(data: bytes, no_session: None) -> None:
    for whole in (data, model.seal(data)):
        with pytest.raises(ModelError):
            encoder_of(whole)


def test_a_billion_empty_pieces_are_not_counted_to_the_end() -> None:
    with pytest.raises(ModelError, match="far too many pieces"):
        list(protobuf.fields(b"\x0a\x00" * 20, Budget(fields_left=19)))
    assert len(list(protobuf.fields(b"\x0a\x00" * 20, Budget(fields_left=20)))) == 20


def test_two_manifests_are_refused(no_session: None) -> None:
    text = model.manifest_to_json(tiny_manifest())
    body = onnx_bytes(text)[:-SEAL_LENGTH]
    with pytest.raises(ModelError, match="several fancl manifests"):
        encoder_of(model.seal(body + block(14, block(1, model.METADATA_KEY) + block(2, text))))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"format_version": 1, "format_version": 1}', "a key is there twice"),
        ('{"format_version": NaN}', "NaN is no number"),
        ('{"format_version": 1}', "lacks the keys backbone, "),
        ("[1]", "format version None"),
        ('{"format_version": "' + "9" * 5000 + '"}', "format version"),
    ],
)
def test_a_manifest_that_is_none_is_a_short_sentence(
    text: str, told: str, no_session: None
) -> None:
    with pytest.raises(ModelError, match=told) as caught:
        encoder_of(onnx_bytes(text))
    assert len(str(caught.value)) < 500


def test_a_number_too_large_for_a_float_is_refused(no_session: None) -> None:
    text = model.manifest_to_json(tiny_manifest())
    with pytest.raises(ModelError, match=r"golden\.min_cosine is inf, which is not float"):
        encoder_of(onnx_bytes(text.replace('"min_cosine": 0.9999', '"min_cosine": 1e999')))


BOMB = base64.b64encode(zlib.compress(bytes(200_000_000), 9)).decode()
NO_THRESHOLDS = {"match_threshold": None, "new_threshold": None}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("input", {"height": 10**9}, "input.height cannot be"),
        ("input", {"width": 0}, "input.width cannot be"),
        ("input", {"width": True}, "input.width is True"),
        ("input", {"pad_value": 256}, "input.pad_value cannot be"),
        ("input", {"resize": "crop"}, "input.resize is 'crop'"),
        ("embedding_dim", 10**9, "embedding_dim cannot be"),
        ("embedding_dim", 63, r"output .* it has embeddings float32 \[N, 64\], expected .*63"),
        ("golden", {"shape": [10**9, SIDE, SIDE, 3]}, "golden.shape cannot be"),
        ("golden", {"shape": [3, 2 * SIDE, SIDE, 3]}, "golden.shape cannot be"),
        ("golden", {"shape": []}, "golden.shape cannot be"),
        ("golden", {"min_cosine": -1.0}, "golden.min_cosine cannot be"),
        ("decision", {"match_threshold": 0.5, "new_threshold": 0.6}, "new_threshold"),
        ("decision", {"match_threshold": 1.5, "new_threshold": 0.6}, "match_threshold"),
        ("decision", {**NO_THRESHOLDS, "false_new_rate": -0.1}, "false_new_rate"),
        ("training", {"counts": {"a": 0.5}}, "counts.a is 0.5"),
    ],
)
def test_a_number_that_cannot_be_is_refused_by_name(
    key: str, value: Any, told: str, no_session: None
) -> None:
    with pytest.raises(ModelError, match=told):
        encoder_of(with_content(**{key: value}))


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": BOMB},
        {"inputs": "%%%"},
        {"inputs": base64.b64encode(b"no zlib").decode()},
        {"inputs": base64.b64encode(zlib.compress(bytes(3 * SIDE * SIDE * 3 - 1))).decode()},
        {"embeddings": base64.b64encode(bytes(100)).decode()},
        {"embeddings": "AAA"},
    ],
)
def test_damaged_golden_vectors_are_refused_without_unpacking_more_than_they_say(
    changes: dict[str, str],
) -> None:
    encoder = encoder_of(with_content(golden=changes))
    tracemalloc.start()
    with pytest.raises(ModelError, match="golden vectors"):
        encoder.check_golden()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
def test_golden_vectors_that_are_no_embeddings_are_refused(value: float) -> None:
    images, emb_ND = model.unpack_golden(tiny_manifest().golden)
    emb_ND[1, 3] = value
    golden = dataclasses.asdict(model.pack_golden(images, emb_ND, 0.9999))
    with pytest.raises(ModelError, match="golden vectors"):
        encoder_of(with_content(golden=golden)).check_golden()


def test_a_pipe_in_place_of_the_model_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="is no ordinary file"):
        open_encoder(tmp_path / "m.onnx")


def test_a_file_too_large_to_be_a_model_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path / "m.onnx")
    monkeypatch.setattr("edge.encoder._MAX_FILE_BYTES", path.stat().st_size)
    open_encoder(path)
    with path.open("ab") as file:
        file.write(number(1, 8))
    with pytest.raises(ModelError, match="larger than 2 GB"):
        open_encoder(path)
