"""int8 and fp16: what the manifest says of them, and when they are refused."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edge import model
from edge.encoder import open_encoder
from edge.errors import InputError, ModelError
from edge.model import Evaluation
from edge.preprocess import InputSpec
from export import cli, fidelity, thresholds
from export.fidelity import Tolerance
from export.graph import to_onnx
from export.int8 import fragile_convolutions, run_graph, to_int8
from export.model_file import Description, Exported, export_model, write_checked
from export.source import LabelledCrops, Source, read_source
from trainer.backbone import BackboneSpec
from trainer.encoder import Encoder

from ..tiny_run import Quiet, export_request

SPEC = InputSpec(height=32, width=48, resize="squash", pad_value=0)
GENEROUS = Tolerance(mAP_loss=1.0, force=False)


@pytest.fixture(scope="module")
def source(trained: Path) -> Source:
    """The tiny run with twelve made-up animals, enough for thresholds."""
    found = read_source(str(trained), None, None, None, Quiet())
    assert found.crops is not None
    count = len(found.crops.label_N)
    crops = LabelledCrops(
        images_NHWC=found.crops.images_NHWC,
        label_N=np.arange(count) % 12,
        burst_N=np.arange(count) // 24,
        labels_from="pseudo-labels",
    )
    return dataclasses.replace(found, crops=crops)


@pytest.fixture(scope="module")
def graph(source: Source) -> onnx.ModelProto:
    return to_onnx(source.encoder, source.input)


@pytest.fixture(scope="module", params=["int8", "fp16"])
def low(
    request: pytest.FixtureRequest,
    source: Source,
    graph: onnx.ModelProto,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    out = tmp_path_factory.mktemp("low") / f"{request.param}.onnx"
    wanted = export_request("x", out, precision=request.param, tolerance=GENEROUS)
    named = Description(name="low", species=None, licence=None)
    return write_checked(source, graph, named, wanted, Quiet())


def test_the_manifest_tells_what_the_precision_costs(low: Exported, source: Source) -> None:
    manifest = open_encoder(low.path).manifest
    assert manifest.precision == low.path.stem
    assert manifest.golden.min_cosine == model.MIN_COSINE[manifest.precision]
    assert source.crops is not None
    told = manifest.fidelity
    assert told is not None
    assert told.num_crops == len(source.crops.images_NHWC)
    assert 0.9 < told.low_cosine <= told.mean_cosine < 1
    assert (told.tolerated_mAP_loss, told.forced) == (1.0, False)
    found = manifest.evaluation
    assert found is not None
    assert found.source == "pseudo-labels"
    assert abs(found.mAP - told.mAP_fp32) < 0.2


def test_ids_golden_vectors_and_thresholds_are_those_of_the_file_that_ships(
    low: Exported, source: Source, graph: onnx.ModelProto
) -> None:
    encoder = open_encoder(low.path)
    assert encoder.manifest.encoder_id == model.encoder_id(low.path.read_bytes())
    assert encoder.manifest.encoder_id != model.encoder_id(graph.SerializeToString())
    assert encoder.check_golden().worst_cosine > 0.99999
    crops = source.crops
    assert crops is not None

    def fitted(emb_ND: np.ndarray) -> model.Decision:
        return thresholds.fit(emb_ND, crops.label_N, crops.burst_N, crops.labels_from)

    assert encoder.manifest.decision == fitted(encoder.embed(crops.images_NHWC))
    assert encoder.manifest.decision != fitted(run_graph(graph, crops.images_NHWC))


def test_a_crop_has_the_same_embedding_in_any_batch(low: Exported, source: Source) -> None:
    encoder, images = open_encoder(low.path), source.sample_NHWC
    assert images is not None
    alone = np.concatenate([encoder.embed(images[at : at + 1]) for at in range(9)])
    np.testing.assert_allclose(alone, encoder.embed(images)[:9], atol=1e-4)


def test_it_is_one_smaller_file_of_standard_operators(low: Exported, model_file: Path) -> None:
    data = low.path.read_bytes()
    assert len(data) < 0.65 * model_file.stat().st_size
    for trace in (b"site-packages", str(Path.cwd()).encode(), b"/tmp/"):
        assert trace not in data
    whole = onnx.load_model_from_string(data)
    assert [one.domain for one in whole.opset_import] == [""]
    assert (whole.opset_import[0].version, whole.ir_version) == (20, 9)
    beside = sorted(path.name for path in low.path.parent.iterdir())
    assert beside == [f"{low.path.stem}-card.html", low.path.name]


def run_command(*words: object) -> int:
    sys.argv = ["fancl-export", *map(str, words)]
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def lights(count: int) -> np.ndarray:
    """Eight animals of one brightness each, in turn."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 8, (count, SPEC.height, SPEC.width, 3))
    return (np.arange(count)[:, None, None, None] % 8 * 30 + noise).astype(np.uint8)


def test_int8_that_loses_too_much_is_refused_with_its_figures_unless_forced(
    source: Source, tmp_path: Path
) -> None:
    encoder = bright_encoder()
    crops = LabelledCrops(
        images_NHWC=lights(48),
        label_N=np.arange(48) % 8,
        burst_N=np.arange(48),
        labels_from="pseudo-labels",
    )
    dark = np.zeros((32, SPEC.height, SPEC.width, 3), np.uint8)  # tells nothing of bright pictures
    blind = dataclasses.replace(source, encoder=encoder, crops=crops, sample_NHWC=dark)
    graph, named = to_onnx(encoder, SPEC), Description(name="x", species=None, licence=None)
    wanted = export_request("x", tmp_path / "m.onnx", precision="int8")
    with pytest.raises(ModelError, match=r"int8 loses .* tolerated 0\.5: mAP .* rank-1 .* cosine"):
        write_checked(blind, graph, named, wanted, Quiet())
    assert list(tmp_path.iterdir()) == []
    forced = dataclasses.replace(wanted, tolerance=Tolerance(mAP_loss=0.005, force=True))
    write_checked(blind, graph, named, forced, Quiet())
    told = open_encoder(tmp_path / "m.onnx").manifest
    assert told.fidelity is not None
    assert told.evaluation is not None
    assert told.fidelity.forced
    assert told.fidelity.mAP_fp32 - told.evaluation.mAP > 0.05
    seeing = dataclasses.replace(blind, sample_NHWC=crops.images_NHWC)
    kept = write_checked(seeing, graph, named, wanted, Quiet()).manifest.fidelity
    assert kept is not None
    assert not kept.forced


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--int8", "--fp16"), "two files"),
        (("--force",), "--force is for --int8 and --fp16; fp32 loses nothing"),
        (("--tolerate", "2"), "--tolerate is for --int8 and --fp16"),
        (("--size", "64x64"), "--size is for published encoders"),
        (("--weights", "none"), "--weights is for published encoders"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(
    words: tuple[str, ...], sentence: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(trained, "--onnx", *words) == 1
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (trained / "model.onnx").exists()


def evaluation(rank1: float, mAP: float) -> Evaluation:
    return Evaluation(source="labels", protocol="p", queries=8, gallery=9, rank1=rank1, mAP=mAP)


@pytest.mark.parametrize(
    ("after", "tolerated", "force", "kept", "forced"),
    [
        (0.696, 0.005, False, True, False),
        (0.694, 0.005, False, False, False),
        (0.694, 0.005, True, True, True),
        (0.710, 0.000, True, True, False),
    ],
)
def test_the_gate(after: float, tolerated: float, force: bool, kept: bool, forced: bool) -> None:
    parent = np.eye(4, dtype=np.float32)
    own = parent.copy()
    own[3] = [0.6, 0, 0, 0.8]
    tolerance = Tolerance(mAP_loss=tolerated, force=force)
    before, now = evaluation(0.8, 0.7), evaluation(0.75, after)
    told = fidelity.compare(parent, own, before, now, tolerance)
    assert told.mean_cosine == pytest.approx(0.95)
    assert told.low_cosine == pytest.approx(0.8, abs=0.01)
    assert told.forced == forced
    if kept:
        fidelity.require("int8", told, now)
    else:
        with pytest.raises(ModelError, match=r"int8 loses 0\.60 points .* tolerated 0\.5: mAP 70"):
            fidelity.require("int8", told, now)


def test_nothing_to_judge_by_is_no_reason_to_trust(tmp_path: Path) -> None:
    wanted = export_request(
        "timm:test_vit", tmp_path / "m.onnx", weights="none", size=(32, 32), precision="int8"
    )
    with pytest.raises(InputError, match="give labelled pictures with --calibrate DATA"):
        export_model(wanted, Quiet())


def test_animals_seen_once_are_nothing_to_judge_by(source: Source, tmp_path: Path) -> None:
    crops = LabelledCrops(
        images_NHWC=lights(8), label_N=np.arange(8), burst_N=np.arange(8),
        labels_from="pseudo-labels",
    )  # fmt: skip
    once = dataclasses.replace(source, encoder=bright_encoder(), crops=crops)
    once = dataclasses.replace(once, sample_NHWC=crops.images_NHWC)
    wanted = export_request("x", tmp_path / "m.onnx", precision="int8")
    named = Description(name="x", species=None, licence=None)
    with pytest.raises(InputError, match="nothing tells what int8 costs"):
        write_checked(once, to_onnx(once.encoder, SPEC), named, wanted, Quiet())


def fragile_encoder() -> Encoder:
    """Its second convolution has huge weights for a channel that is always zero."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)
    with torch.no_grad():
        first.weight[0], first.bias[0] = 0.0, -1.0
        second.weight[:, 0] = 300.0
    return encoder_of(first, second, nn.Conv2d(16, 24, 3))


def bright_encoder() -> Encoder:
    torch.manual_seed(0)
    return encoder_of(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 24, 3))


def encoder_of(*convolutions: nn.Conv2d) -> Encoder:
    layers = [layer for one in convolutions for layer in (one, nn.ReLU())]
    backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    spec = BackboneSpec(
        name="fragile", height=32, width=48, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2),
        last_stride=1, pooling="average", pad_type="", bn_eps=None, described=None,
    )  # fmt: skip
    encoder = Encoder(spec, backbone).eval()
    with torch.no_grad():
        encoder.neck.running_mean += 0.01
    return encoder


def test_a_convolution_that_int8_cannot_carry_stays_fp32_in_onnxruntime_too() -> None:
    graph = to_onnx(fragile_encoder(), SPEC)
    images = np.random.default_rng(0).integers(0, 255, (48, 32, 48, 3), dtype=np.uint8)
    images[:, :16] //= np.arange(1, 49, dtype=np.uint8)[:, None, None, None]
    convolutions = [node.name for node in graph.graph.node if node.op_type == "Conv"]
    assert fragile_convolutions(graph, images, run_graph(graph, images)) == [convolutions[1]]
    made = to_int8(graph, images)
    assert made.cosine > 0.999
    assert "1 convolutions left in fp32" in made.words


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(900)
def test_on_real_animals_int8_keeps_the_ranking_or_is_refused(shared: Path, tmp_path: Path) -> None:
    """An ImageNet MobileNet, whose first depthwise layer int8 does not carry by itself."""
    weights = shared / "weights" / "mobilenetv2_035.imagenet.safetensors"
    wanted = export_request(
        "timm:mobilenetv2_035",
        tmp_path / "m.onnx",
        weights=str(weights),
        size=(128, 128),
        calibrate=shared / "data" / "opencows" / "metadata.csv",
        precision="int8",
    )
    try:
        done = export_model(wanted, Quiet())
    except ModelError as error:
        assert "int8 loses" in str(error)
        assert not (tmp_path / "m.onnx").exists()
        return
    told, found = done.manifest.fidelity, done.manifest.evaluation
    assert told is not None
    assert found is not None
    assert found.queries == 333
    assert told.mAP_fp32 > 0.6
    assert found.mAP >= told.mAP_fp32 - 0.005
