"""Backbones, neck and checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edge.errors import InputError
from edge.preprocess import InputSpec
from trainer.backbone import load_backbone, stem_of
from trainer.checkpoint import EncoderFacts, StoredEncoder, load_encoder, save_encoder
from trainer.encoder import Encoder, embed, set_neck_statistics
from trainer.resnet import GeneralisedMean

CPU = torch.device("cpu")


def encoder_of(name: str, weights: str = "none") -> Encoder:
    torch.manual_seed(0)
    loaded = load_backbone(name, weights, 32, 48)
    return Encoder(loaded.spec, loaded.module)


def images(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "dim"), [("small-cnn", 256), ("resnet50", 2048), ("mobilenetv2_035", 1280)]
)
def test_embeddings_are_unit_vectors_of_the_backbones_width(name: str, dim: int) -> None:
    emb = embed(encoder_of(name), images(2, 32, 48), CPU)
    assert emb.shape == (2, dim)
    np.testing.assert_allclose(np.linalg.norm(emb, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("last_stride", "size"), [(1, (8, 16)), (2, (4, 8))])
def test_the_last_stride_of_resnet50_decides_its_last_map(
    last_stride: int, size: tuple[int, int]
) -> None:
    backbone = load_backbone("resnet50", "none", 128, 256, last_stride).module
    maps = torch.zeros(1, 3, 128, 256)
    for name, child in backbone.named_children():
        maps = child(maps) if name != "pool" else maps
    assert maps.shape[-2:] == size


def test_the_generalised_mean_lies_between_mean_and_maximum(tmp_path: Path) -> None:
    pool = GeneralisedMean()
    maps = torch.rand(2, 5, 4, 4)
    expected = (maps**3).mean(dim=(2, 3)) ** (1 / 3)
    torch.testing.assert_close(pool(maps), expected)
    assert (pool(maps) > maps.mean(dim=(2, 3))).all()
    plain = load_backbone("resnet50", "none", 32, 48).module
    file = tmp_path / "resnet50.safetensors"
    save_file(plain.state_dict(), str(file))  # as published: without a pooling power
    loaded = load_backbone("resnet50", str(file), 32, 48, pooling="gem").module
    assert loaded.state_dict()["pool.power"] == 3.0
    assert torch.equal(loaded.state_dict()["conv1.weight"], plain.state_dict()["conv1.weight"])


def test_other_backbones_pool_as_they_do() -> None:
    with pytest.raises(InputError, match="are for resnet50"):
        load_backbone("small-cnn", "none", 64, 96, pooling="gem")


@pytest.mark.parametrize("name", ["small-cnn", "resnet50", "mobilenetv2_035"])
def test_the_stem_is_the_first_convolution_with_its_norm(name: str) -> None:
    conv, norm = stem_of(encoder_of(name).backbone)
    assert conv.in_channels == 3
    assert norm is not None
    assert norm.num_features == conv.out_channels


def test_the_neck_takes_its_statistics_from_the_pictures() -> None:
    encoder = encoder_of("small-cnn")
    pixels = images(40, 32, 48)
    set_neck_statistics(encoder, pixels, CPU, "fp32")
    with torch.no_grad():
        normal = encoder.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255.0)
        values = encoder.backbone(normal)
    torch.testing.assert_close(encoder.neck.running_mean, values.mean(dim=0), atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(
        encoder.neck.running_var, values.var(dim=0, correction=0), atol=1e-7, rtol=1e-2
    )


def test_a_stored_encoder_comes_back_the_same(tmp_path: Path) -> None:
    encoder = encoder_of("mobilenetv2_035")
    facts = EncoderFacts(
        method="fancl",
        backbone=encoder.spec,
        weights="none",
        input=InputSpec(height=32, width=48, resize="squash", pad_value=0),
        epoch=3,
        whitened=False,
    )
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, StoredEncoder(encoder=encoder, facts=facts))
    back = load_encoder(path)
    assert back.facts == facts
    pixels = images(2, 32, 48)
    np.testing.assert_array_equal(embed(back.encoder, pixels, CPU), embed(encoder, pixels, CPU))


@pytest.mark.data
def test_a_weights_file_brings_its_own_normalisation(shared: Path) -> None:
    file = shared / "weights" / "mobilenetv2_035.imagenet.safetensors"
    loaded = load_backbone("mobilenetv2_035", str(file), 64, 64)
    assert loaded.spec.mean == loaded.spec.std == (0.5, 0.5, 0.5)
    assert loaded.spec.pad_type == "same"
    assert loaded.spec.bn_eps == 1e-3
