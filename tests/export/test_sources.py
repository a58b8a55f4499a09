"""Published encoders as sources: their file, what is told of them, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import open_clip
import pytest
import torch
from PIL import Image as PillowImage
from safetensors.torch import save_file

from edge.encoder import open_encoder
from edge.errors import InputError, WeightsError
from export import cli, thresholds
from export.card import render_card
from export.model_file import export_model
from trainer.clip.published import load_tower
from trainer.clip.weights import CONFIG
from trainer.encoder import Encoder, embed
from trainer.evaluation.public import load_published

from ..tiny_run import Quiet, export_request

VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 1, "layers": 1}


@pytest.fixture(scope="module", autouse=True)
def tiny_clips(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Three models of a few layers in open_clip's list."""
    folder = tmp_path_factory.mktemp("configs")
    config = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
    resnet = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    for name, changes in {
        "tiny-clip": {},
        "tiny-clip-quickgelu": {"quick_gelu": True},
        "tiny-rn": {"vision_cfg": resnet},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(config | changes))
    open_clip.add_model_config(folder)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("published") / "vit.onnx"
    told = Quiet()
    torch.manual_seed(5)
    wanted = export_request("timm:test_vit", out, weights="none", size=(64, 96))
    done = export_model(wanted, told)
    assert any("RANDOM WEIGHTS" in sentence for sentence in told.sentences)
    assert (done.parity.of, done.parity.num_crops) == ("drawn pictures", 16)
    return out


def require_parity(file: Path, source: str, size: tuple[int, int] | None) -> None:
    torch.manual_seed(5)
    loaded = load_published(source, "none", size)
    encoder = open_encoder(file)
    spec = encoder.manifest.input
    images = np.random.default_rng(0).integers(
        0, 255, (70, spec.height, spec.width, 3), dtype=np.uint8
    )
    expected = embed(Encoder(loaded.spec, loaded.module), images, torch.device("cpu"))
    for batch in (1, 7, 64):
        parts = [encoder.embed(images[at : at + batch]) for at in range(0, 70, batch)]
        assert np.sum(np.concatenate(parts) * expected, axis=1).min() > 0.9999


def test_a_transformer_of_timm_becomes_a_model_file(vit: Path) -> None:
    require_parity(vit, "timm:test_vit", (64, 96))


@pytest.mark.parametrize(
    ("source", "size"),
    [("open_clip:tiny-clip-quickgelu", (32, 64)), ("open_clip:tiny-rn", None)],
)
def test_an_image_tower_becomes_a_model_file(
    source: str, size: tuple[int, int] | None, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    out = tmp_path / "m.onnx"
    export_model(export_request(source, out, weights="none", size=size), Quiet())
    require_parity(out, source, size)


def test_what_is_told_of_an_encoder_that_was_not_trained_here(vit: Path) -> None:
    manifest = open_encoder(vit).manifest
    assert (manifest.name, manifest.method, manifest.backbone) == (
        "test_vit", "published", "timm:test_vit",
    )  # fmt: skip
    training = manifest.training
    assert (training.data_digest, training.counts, training.commit) == ("", {}, None)
    assert training.config == {"weights": "none", "weights_sha256": None}
    assert manifest.evaluation is None
    assert manifest.decision == thresholds.NONE
    card = render_card(manifest)
    assert "Not by this program: published encoder timm:test_vit" in card
    assert "sha256)" not in card


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Three animals of one colour each, four pictures of each."""
    rng = np.random.default_rng(0)
    for name, colour in {"ada": (220, 30, 30), "ben": (30, 220, 30), "cleo": (30, 30, 220)}.items():
        (tmp_path / "animals" / name).mkdir(parents=True)
        for number in range(4):
            noise = rng.integers(-25, 25, (40, 40, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            PillowImage.fromarray(pixels).save(tmp_path / "animals" / name / f"{number}.png")
    return tmp_path / "animals"


def test_given_pictures_judge_a_published_encoder(animals: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    torch.manual_seed(0)
    wanted = export_request(
        "timm:test_resnet", out, weights="none", size=(32, 32), calibrate=animals, precision="int8"
    )
    done = export_model(wanted, Quiet())
    assert (done.parity.of, done.parity.num_crops) == ("given crops", 12)
    found = open_encoder(out).manifest.evaluation
    assert found is not None
    assert (found.source, found.queries, found.gallery) == ("labels", 12, 12)
    assert found.rank1 == 1.0


def test_a_local_folder_does_not_travel(tmp_path: Path) -> None:
    import timm
    from timm.models import save_for_hf

    folder = tmp_path / "secret" / "leopards"
    save_for_hf(timm.create_model("test_resnet"), str(folder), safe_serialization=True)
    out = tmp_path / "m.onnx"
    wanted = export_request(f"timm:local-dir:{folder}", out, size=(32, 32))
    done = export_model(wanted, Quiet())
    assert (done.manifest.name, done.manifest.backbone) == ("leopards", "timm:local-dir:leopards")
    assert b"secret" not in out.read_bytes()
    assert done.manifest.training.config["weights_sha256"]


def test_an_open_clip_file_is_loaded_and_its_grid_of_positions_stretched(tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = open_clip.create_model("tiny-clip")
    path = tmp_path / "clip.safetensors"
    save_file({key: value.contiguous() for key, value in whole.state_dict().items()}, str(path))
    same = load_tower("tiny-clip", str(path), None)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(same.module.eval()(images), whole.visual.eval()(images))
    assert same.spec.mean == whole.visual.image_mean
    wide = load_tower("tiny-clip", str(path), (32, 64)).module
    assert wide.positional_embedding.shape == (1 + 4 * 8, 32)
    torch.testing.assert_close(wide.positional_embedding[0], whole.visual.positional_embedding[0])


def test_weights_for_another_activation_are_refused(tmp_path: Path) -> None:
    whole = open_clip.create_model("tiny-clip")
    path = tmp_path / "clip.safetensors"
    save_file({key: value.contiguous() for key, value in whole.state_dict().items()}, str(path))
    (tmp_path / CONFIG).write_text(json.dumps({"model_cfg": {"quick_gelu": True}}))
    with pytest.raises(WeightsError, match="Use open_clip:tiny-clip-quickgelu"):
        load_tower("tiny-clip", str(path), None)
    load_tower("tiny-clip-quickgelu", str(path), None)
    with pytest.raises(WeightsError, match="Use open_clip:ViT-B-16-quickgelu"):
        load_tower("ViT-B-16", "openai", None)


@pytest.mark.parametrize(
    ("source", "weights", "size", "sentence"),
    [
        ("open_clip:no-such", "none", None, "open_clip has no model 'no-such'"),
        ("open_clip:tiny-clip", None, None, "no default weights; give --weights"),
        ("open_clip:tiny-clip", "gone.safetensors", None, "there is no weights file gone"),
        ("open_clip:tiny-clip", "no-tag", None, "there is no weights file no-tag"),
        ("open_clip:tiny-rn", "none", (48, 64), "patches of 32 x 32 pixels: give --size"),
        ("timm:no_such_net", "none", None, "no backbone is named 'no_such_net'"),
        ("timm:small-cnn", "none", None, "has no input size of its own; give --size"),
        ("timm:test_vit", "gone.safetensors", None, "there is no weights file gone"),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence(
    source: str, weights: str | None, size: tuple[int, int] | None, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises((InputError, WeightsError), match=sentence):
        export_model(
            export_request(source, tmp_path / "m.onnx", weights=weights, size=size), Quiet()
        )
    assert not (tmp_path / "m.onnx").exists()


def test_weights_of_another_tower_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"visual.conv1.weight": torch.zeros(2, 3, 8, 8)}, str(path))
    with pytest.raises(WeightsError, match="does not fit open_clip's tiny-clip"):
        load_tower("tiny-clip", str(path), None)
    save_file({"text.weight": torch.zeros(2)}, str(path))
    with pytest.raises(WeightsError, match="holds no CLIP model"):
        load_tower("tiny-clip", str(path), None)


def test_a_published_encoder_has_no_folder_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sys.argv = ["fancl-export", "timm:test_vit", "--onnx"]
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert "fancl-export timm:test_vit model.onnx --onnx" in " ".join(
        capsys.readouterr().err.split()
    )


def test_shapes_are_not_computed_again_at_every_picture(vit: Path) -> None:
    kinds = [node.op_type for node in onnx.load(vit).graph.node]
    assert kinds.count("Shape") <= 1
    assert not {"Identity", "Constant", "Slice", "BatchNormalization", "Range"} & set(kinds)
