"""The model file: one file, the right numbers at any batch size, nothing of its maker inside."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edge import model
from edge.encoder import encoder_of, open_encoder
from edge.errors import InputError, ModelError
from edge.preprocess import InputSpec
from export import cli, parity, thresholds
from export.model_file import export_model
from trainer.checkpoint import load_encoder
from trainer.encoder import embed

from ..tiny_run import Quiet, export_request

CPU = torch.device("cpu")
SEAL = model.seal(b"")


def crops(count: int, spec: InputSpec) -> np.ndarray:
    shape = (count, spec.height, spec.width, 3)
    return np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)


def test_the_file_gives_what_the_trained_encoder_gives(trained: Path, model_file: Path) -> None:
    stored = load_encoder(trained)
    images = crops(70, stored.facts.input)
    expected = embed(stored.encoder, images, CPU)
    device_encoder = open_encoder(model_file)
    for size in (1, 7, 64):
        parts = [device_encoder.embed(images[start : start + size]) for start in range(0, 70, size)]
        cosine = np.sum(np.concatenate(parts) * expected, axis=1)
        assert cosine.min() >= 0.9999


def test_the_model_is_one_file_with_nothing_of_its_makers_machine(model_file: Path) -> None:
    card, path = sorted(model_file.parent.iterdir())
    assert (card.name, path) == ("model-card.html", model_file)
    data = model_file.read_bytes()
    for trace in (b"trainer/", b"site-packages", str(Path.cwd()).encode(), b"stack_trace"):
        assert trace not in data
    graph = onnx.load_model_from_string(data)
    assert {imported.domain for imported in graph.opset_import} == {""}
    assert not any(tensor.external_data for tensor in graph.graph.initializer)


def test_input_and_output_are_the_contracts(model_file: Path) -> None:
    graph = onnx.load(model_file).graph
    (images,), (embeddings,) = graph.input, graph.output
    assert (images.name, embeddings.name) == (model.INPUT_NAME, model.OUTPUT_NAME)
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert embeddings.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    first, *rest = images.type.tensor_type.shape.dim
    assert first.dim_param
    assert [dim.dim_value for dim in rest] == [32, 48, 3]


def test_the_encoder_id_is_the_hash_of_what_computes(model_file: Path) -> None:
    """Against the onnx package: only ir_version, graph and opsets of the stored file count."""
    whole = onnx.load(model_file)
    bare = onnx.ModelProto()
    bare.ir_version = whole.ir_version
    bare.graph.CopyFrom(whole.graph)
    bare.opset_import.extend(whole.opset_import)
    expected = hashlib.sha256(bare.SerializeToString()).hexdigest()
    assert model.encoder_id(model_file.read_bytes()) == expected
    assert open_encoder(model_file).manifest.encoder_id == expected


def test_metadata_does_not_change_the_encoder_id_but_a_weight_does(model_file: Path) -> None:
    whole = onnx.load(model_file)
    before = model.encoder_id(whole.SerializeToString())
    onnx.helper.set_model_props(whole, {"note": "another"})
    assert model.encoder_id(whole.SerializeToString()) == before
    weight = max(whole.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.raw_data = bytes([weight.raw_data[0] ^ 1]) + weight.raw_data[1:]
    assert model.encoder_id(whole.SerializeToString()) != before


def test_a_changed_weight_is_noticed_by_the_device(model_file: Path) -> None:
    whole = onnx.load(model_file)
    weight = max(whole.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.raw_data = bytes([weight.raw_data[0] ^ 1]) + weight.raw_data[1:]
    unsealed = whole.SerializeToString()[: -len(SEAL)]
    with pytest.raises(ModelError, match="the file is damaged; copy it again"):
        encoder_of(model.seal(unsealed))


def test_the_manifest_tells_how_the_model_was_made(model_file: Path, trained: Path) -> None:
    manifest = open_encoder(model_file).manifest
    assert (manifest.name, manifest.method, manifest.backbone) == ("tiny", "fancl", "small-cnn")
    assert manifest.training.config["seed"] == 1
    assert manifest.training.counts["crops"] > 0
    assert manifest.golden.min_cosine == 0.9999
    images, expected = model.unpack_golden(manifest.golden)
    np.testing.assert_allclose(
        embed(load_encoder(trained).encoder, images, CPU), expected, atol=1e-5
    )


def test_an_export_that_differs_is_not_written() -> None:
    bad = parity.Parity(num_crops=8, of="crops", worst_cosine={1: 0.99999, 7: 0.95, 64: 0.99999})
    with pytest.raises(ModelError, match=r"cosine 0\.950000 at batch 7.*nothing was written"):
        parity.require(bad, 0.9999)


def test_missing_training_pictures_stop_the_export(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    config = (run / "config.json").read_text()
    (run / "config.json").write_text(config.replace("/train", "/gone"))
    with pytest.raises(InputError, match="put the pictures back"):
        export_model(export_request(run, tmp_path / "m.onnx"), Quiet())
    assert not (tmp_path / "m.onnx").exists()


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sys.argv = ["fancl-export", str(tmp_path), "--onnx"]
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("error: there is no checkpoint")


def test_clusters_become_similarity_thresholds() -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.standard_normal((12, 16)), 6, axis=0)
    emb = centres + 0.3 * rng.standard_normal(centres.shape)
    emb = (emb / np.linalg.norm(emb, axis=1, keepdims=True)).astype(np.float32)
    labels = np.repeat(np.arange(12), 6)
    labels[:3] = -1
    decision = thresholds.fit(emb, labels, np.arange(72) // 2, "pseudo-labels")
    assert decision.source == "pseudo-labels"
    assert decision.match_threshold is not None
    assert decision.new_threshold is not None
    assert 0 < decision.new_threshold <= decision.match_threshold < 1
    few = thresholds.fit(emb[:30], labels[:30], np.arange(30), "pseudo-labels")
    assert few == thresholds.NONE
