"""From a run to the model file: the crops it is checked on, its name, what a difference does."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image as PillowImage

from edge import preprocess
from edge.clusters import read_clusters
from edge.decoding import crops
from edge.errors import InputError, ModelError
from edge.gallery.enroll import read_candidates
from edge.media import decode, read_bytes
from edge.pictures import read_collection
from edge.preprocess import InputSpec
from export.graph import to_onnx
from export.model_file import Description, export_model, write_checked
from export.source import read_source
from trainer.data import load_crops
from trainer.run import train

from ..tiny_run import Quiet, export_request, request_for

SPEC = InputSpec(height=32, width=48, resize="squash", pad_value=0)


def test_a_graph_that_computes_something_else_is_not_written(trained: Path, tmp_path: Path) -> None:
    source = read_source(str(trained), None, None, None, Quiet())
    graph = to_onnx(source.encoder, SPEC)
    named = Description(name="changed", species=None, licence=None)
    whole = export_request(trained, tmp_path / "whole.onnx")
    write_checked(source, graph, named, whole, Quiet())
    weight = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    turned = numpy_helper.to_array(weight)[::-1].copy()
    weight.CopyFrom(numpy_helper.from_array(turned, weight.name))
    onnx.checker.check_model(graph)
    with pytest.raises(ModelError, match="differs from the trained encoder"):
        changed = export_request(trained, tmp_path / "changed.onnx")
        write_checked(source, graph, named, changed, Quiet())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole-card.html", "whole.onnx"]


def test_the_models_name_is_the_folders_even_from_inside_it(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    done = export_model(export_request(".", tmp_path / "m.onnx"), Quiet())
    assert done.manifest.name == trained.name


@pytest.mark.parametrize("gone", ["clusters.csv", "config.json"])
def test_a_run_that_lacks_a_file_is_a_sentence(trained: Path, tmp_path: Path, gone: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / gone).unlink()
    with pytest.raises(InputError, match=gone):
        export_model(export_request(run, tmp_path / "m.onnx"), Quiet())


@pytest.fixture(scope="module")
def pixel_table(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A metadata.csv with an off-centre box in pixels for each of the world's pictures."""
    folder = tmp_path_factory.mktemp("pixels")
    shutil.copytree(world / "train", folder / "photos")
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["identity", "path", "bbox"])
        for number, one in enumerate(read_collection(folder / "photos").pictures):
            with PillowImage.open(one.path) as picture:
                width, height = picture.size
            bbox = [width // 3 - number % 7, height // 5, width // 2 + 1, height // 3]
            writer.writerow(["", f"photos/{one.name}", bbox])
    return folder / "metadata.csv"


def test_boxes_in_pixels_give_training_export_and_gallery_the_same_crops(
    pixel_table: Path, world: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    request = dataclasses.replace(request_for(world, run), data=pixel_table, boxes=None)
    train(request, Quiet())
    trained_on = load_crops(read_collection(pixel_table, split="train"), SPEC, None)
    rows = read_clusters(run / "clusters.csv")
    assert [row.name for row in rows] == [fact.picture.name for fact in trained_on.facts]
    of_row = dict(zip(((row.path, row.box) for row in rows), trained_on.images_NHWC, strict=True))
    for row, expected_HWC in zip(rows, trained_on.images_NHWC, strict=True):
        frame = decode(read_bytes(row.path))
        crop_HWC = preprocess.crop(frame.image_HWC, row.box)
        assert crop_HWC.shape != frame.image_HWC.shape
        np.testing.assert_array_equal(preprocess.resize(crop_HWC, SPEC), expected_HWC)
    exported = read_source(str(run), None, None, None, Quiet()).sample_NHWC
    assert sorted(map(bytes, exported)) == sorted(map(bytes, trained_on.images_NHWC))
    candidates = read_candidates(run, split=None).pictures
    assert len(candidates) == sum(row.pseudo_label >= 0 for row in rows) > 0
    for candidate in candidates:
        frame = decode(read_bytes(candidate.path))
        enrolled_HWC = crops.cut(frame.image_HWC, candidate.box, SPEC).encoder_HWC
        np.testing.assert_array_equal(enrolled_HWC, of_row[candidate.path, candidate.box])
