"""The model file as a device reads it, and the encoder over it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from edge import model
from edge.compute.runtime import onnxruntime_flavour
from edge.encoder import open_encoder
from edge.errors import InstallError, ModelError

from .conftest import DIM, SIDE, coat, number, onnx_bytes, tiny_manifest, write_model


def test_a_manifest_comes_back_as_it_was_written():
    manifest = tiny_manifest()
    data = onnx_bytes(model.manifest_to_json(manifest))
    assert model.read_manifest(data) == manifest
    assert model.encoder_id(data) == manifest.encoder_id


@pytest.mark.parametrize("key", ["licence", "golden", "encoder_id"])
def test_a_missing_key_is_refused_by_name(key):
    content = json.loads(model.manifest_to_json(tiny_manifest()))
    del content[key]
    with pytest.raises(ModelError, match=f"manifest lacks the key {key};"):
        model.manifest_from_json(json.dumps(content))


def test_an_unknown_key_is_refused_by_name():
    content = json.loads(model.manifest_to_json(tiny_manifest()))
    content["input"]["mean"] = 0.5
    with pytest.raises(ModelError, match=r"manifest\.input has the key mean that this"):
        model.manifest_from_json(json.dumps(content))


@pytest.mark.parametrize(
    ("key", "value"), [("embedding_dim", "64"), ("precision", "fp8"), ("name", None)]
)
def test_a_value_of_another_kind_is_refused_by_name(key, value):
    content = json.loads(model.manifest_to_json(tiny_manifest())) | {key: value}
    with pytest.raises(ModelError, match=f"manifest.{key} is {value!r}"):
        model.manifest_from_json(json.dumps(content))


def test_the_name_and_figures_do_not_change_the_encoder_but_its_weights_do():
    one, other = tiny_manifest(seed=0), tiny_manifest(seed=1)
    assert one.encoder_id != other.encoder_id
    renamed = onnx_bytes(json.dumps({"name": "another"}), seed=0)
    assert model.encoder_id(renamed) == one.encoder_id


def test_the_seal_is_the_last_82_bytes_as_documented(tiny_model):
    data = tiny_model.read_bytes()
    body, last = data[:-82], data[-82:]
    assert last[:16] == b"\x72\x50\x0a\x0cfancl_sha256"
    assert last[16:18] == b"\x12\x40"
    assert last[18:] == hashlib.sha256(body).hexdigest().encode()


def test_an_onnx_file_without_our_manifest_is_refused():
    with pytest.raises(ModelError, match="carries no fancl manifest"):
        model.read_manifest(onnx_bytes(None))


def test_the_encoder_gives_what_the_matrix_gives(tiny_model):
    encoder = open_encoder(tiny_model)
    images = np.stack([coat(animal) for animal in "ABC"])
    weights = np.random.default_rng(0).standard_normal((SIDE * SIDE * 3, DIM))
    expected = (images.reshape(3, -1) - 120.5) @ weights
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.embed(images), expected, atol=1e-5)
    assert encoder.embed(images[:0]).shape == (0, DIM)


def test_other_embeddings_than_the_exporters_are_refused(tmp_path):
    golden = tiny_manifest(seed=1).golden
    path = write_model(tmp_path / "m.onnx", seed=0, golden=golden)
    with pytest.raises(ModelError, match="gives other embeddings here than where it was exported"):
        open_encoder(path)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "cannot read the model"),
        (lambda path: path.write_bytes(b"hello"), "not an ONNX file|not a whole ONNX file"),
        (lambda path: path.write_bytes(number(1, 8)), "carries no fancl manifest"),
        (lambda path: write_model(path, format_version=2), "is of format version 2"),
    ],
)
def test_a_model_that_cannot_serve_stops_the_watch_with_a_sentence(device, tmp_path, make, told):
    import re

    make(tmp_path / "bad.onnx")
    ran = device.watch("--model", str(tmp_path / "bad.onnx"))
    assert ran.code == 1
    assert re.search(told, ran.err)
    assert "Traceback" not in ran.err
    assert not device.state.exists()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Pretends that distributions are installed."""

    def install(*names: str) -> None:
        for name in names:
            folder = tmp_path / f"{name.replace('-', '_')}-9.9.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_both_flavours_of_onnxruntime_are_refused(installed, device):
    installed("onnxruntime", "onnxruntime-gpu")
    with pytest.raises(InstallError, match="pip uninstall -y onnxruntime onnxruntime-gpu"):
        onnxruntime_flavour()
    ran = device.watch()
    assert ran.code == 1
    assert "both onnxruntime and onnxruntime-gpu are installed" in ran.err
