"""CLIP's towers: three outputs, other sizes, weights that fit or are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip import SimpleTokenizer
from safetensors.torch import save_file
from torch import nn

from edge.errors import InputError, WeightsError
from trainer.backbone import build_backbone, load_backbone
from trainer.clip.image import load_pair
from trainer.clip.text import TextTower
from trainer.clip.towers import ResnetTower, VitTower, tower_of
from trainer.clip.weights import build_clip, load_clip, model_config

from ..tiny_clip import RN50, TIMM, VIT, written


def model_of(config: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return build_clip(config).eval()


@torch.no_grad()
def test_a_vit_gives_its_class_token_before_and_after_the_last_block() -> None:
    model = model_of(VIT)
    images = torch.randn(3, 3, 32, 32)
    found = tower_of(model.visual, 32, 32)(images)
    expected = model.visual.forward_intermediates(
        images, indices=[1], output_fmt="NLC", output_extra_tokens=True
    )
    torch.testing.assert_close(found.early_ND, expected["image_intermediates_prefix"][0][:, 0])
    torch.testing.assert_close(found.projected_ND, model.encode_image(images))
    torch.testing.assert_close(found.pooled_ND @ model.visual.proj, found.projected_ND)
    assert (found.early_ND.shape[1], found.pooled_ND.shape[1]) == (48, 48)


@torch.no_grad()
def test_a_resnet_gives_means_of_its_last_stages_at_stride_one() -> None:
    model = model_of(RN50)
    images = torch.randn(2, 3, 96, 64)
    found = tower_of(model.visual, 96, 64)(images)
    visual = model.visual
    third = visual.layer3(visual.layer2(visual.layer1(visual.stem(images))))
    fourth = visual.layer4(third)
    assert fourth.shape[-2:] == third.shape[-2:] == (6, 4)
    torch.testing.assert_close(found.early_ND, third.mean(dim=(2, 3)))
    torch.testing.assert_close(found.pooled_ND, fourth.mean(dim=(2, 3)))
    torch.testing.assert_close(found.projected_ND, visual.attnpool(fourth))
    assert (found.early_ND.shape[1], found.pooled_ND.shape[1]) == (128, 256)
    assert found.projected_ND.shape[1] == 16


@torch.no_grad()
def test_a_timm_tower_gives_its_pooled_vector_and_its_projection() -> None:
    model = model_of(TIMM)
    images = torch.randn(2, 3, 64, 64)
    found = tower_of(model.visual, 64, 64)(images)
    torch.testing.assert_close(found.projected_ND, model.encode_image(images))
    torch.testing.assert_close(found.pooled_ND, model.visual.trunk(images))
    assert found.early_ND.shape[1] == 32  # the stage before the last


def slow_positions(rows_PD: torch.Tensor, side: int, grid: tuple[int, int]) -> torch.Tensor:
    """Bilinear positions of another grid, cell by cell."""
    cells = rows_PD[1:].reshape(side, side, -1)
    out = [rows_PD[0]]
    for row in range(grid[0]):
        for column in range(grid[1]):
            y = min(max((row + 0.5) * side / grid[0] - 0.5, 0), side - 1)
            x = min(max((column + 0.5) * side / grid[1] - 0.5, 0), side - 1)
            top, left = int(y), int(x)
            down, right = min(top + 1, side - 1), min(left + 1, side - 1)
            upper = (1 - (x - left)) * cells[top, left] + (x - left) * cells[top, right]
            lower = (1 - (x - left)) * cells[down, left] + (x - left) * cells[down, right]
            out.append((1 - (y - top)) * upper + (y - top) * lower)
    return torch.stack(out)


def test_positions_of_another_grid_are_bilinear_and_the_first_row_stays() -> None:
    model = model_of(VIT)
    before = model.visual.positional_embedding.detach().clone()
    tower = VitTower(model.visual, 64, 24)
    after = tower.visual.positional_embedding
    assert after.shape == (8 * 3 + 1, 48)
    torch.testing.assert_close(after.detach(), slow_positions(before, 4, (8, 3)))
    model = model_of(RN50)
    before = model.visual.attnpool.positional_embedding.detach().clone()
    resnet = ResnetTower(model.visual, 64, 96)
    after = resnet.visual.attnpool.positional_embedding
    torch.testing.assert_close(after.detach(), slow_positions(before, 2, (4, 6)))


def test_published_grids_for_256x128() -> None:
    from open_clip import get_model_config

    for name, shape in (("ViT-B-16-quickgelu", (129, 768)), ("RN50-quickgelu", (129, 2048))):
        config = get_model_config(name)
        config["vision_cfg"]["layers"] = 1 if "ViT" in name else [1, 1, 1, 1]
        config["text_cfg"] |= {"layers": 1, "width": 64, "heads": 1}
        visual = tower_of(build_clip(config).visual, 256, 128).visual
        positions = visual.positional_embedding if "ViT" in name else visual.attnpool
        rows = positions if "ViT" in name else positions.positional_embedding
        assert rows.shape == shape


def test_a_size_that_cuts_patches_is_refused() -> None:
    with pytest.raises(InputError, match="multiples"):
        tower_of(model_of(VIT).visual, 30, 32)


@torch.no_grad()
def test_text_from_embeddings_is_the_text_from_tokens() -> None:
    for custom in (False, True):
        model = model_of(VIT | {"custom_text": custom})
        tower = TextTower(model).eval()
        ids = SimpleTokenizer()(["A photo of a tiger.", "A photo of a long-eared owl."])
        for row in ids:
            end = int(row.argmax())
            found = tower(tower.token_embedding(row[None]), end)
            torch.testing.assert_close(found, model.encode_text(row[None]))
        assert not any(one.requires_grad for one in tower.parameters())


def test_a_backbone_is_built_again_from_its_spec(tmp_path: Path) -> None:
    for config, width in ((VIT, 48 + 24), (RN50, 256 + 16), (TIMM, 1280 + 20)):
        loaded = load_backbone(written(tmp_path, config), "none", 64, 32)
        (tmp_path / "tiny.json").unlink()  # the run carries the description itself
        again = build_backbone(loaded.spec)
        again.load_state_dict(loaded.module.state_dict())
        images = torch.randn(2, 3, 64, 32)
        with torch.no_grad():
            values = loaded.module.eval()(images)
            torch.testing.assert_close(again.eval()(images), values)
        assert values.shape == (2, width)


def test_the_methods_own_normalisation(tmp_path: Path) -> None:
    vit = load_backbone(written(tmp_path, VIT), "none", 32, 32).spec
    assert (vit.mean, vit.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    resnet = load_backbone(written(tmp_path, RN50), "none", 64, 64).spec
    assert resnet.mean == (0.485, 0.456, 0.406)


def save(model: nn.Module, path: Path, layout: str) -> Path:
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    if layout == "safetensors":
        save_file(state, str(path.with_suffix(".safetensors")))
        return path.with_suffix(".safetensors")
    extra = {key: torch.tensor(1) for key in ("input_resolution", "context_length", "vocab_size")}
    halves = {key: value.half() if value.ndim > 1 else value for key, value in state.items()}
    torch.save(halves | extra, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


@torch.no_grad()
@pytest.mark.parametrize("layout", ["safetensors", "openai"])
def test_weights_from_a_file_give_the_models_own_features(tmp_path: Path, layout: str) -> None:
    model = model_of(VIT).half().float() if layout == "openai" else model_of(VIT)
    path = save(model, tmp_path / "weights", layout)
    pair = load_pair(written(tmp_path, VIT), str(path), 32, 32)
    images = torch.randn(2, 3, 32, 32)
    found = pair.image.module.eval()(images)[:, -24:]
    torch.testing.assert_close(found, model.encode_image(images), rtol=1e-4, atol=1e-5)
    assert pair.text_weights
    assert (pair.image.weights, len(pair.image.sha256 or "")) == (path.name, 64)


def test_an_image_tower_of_timm_comes_alone_and_says_so(tmp_path: Path) -> None:
    trunk = load_backbone("mobilenetv2_035", "none", 64, 64)
    path = tmp_path / "trunk.safetensors"
    state = {key: value.contiguous() for key, value in trunk.module.state_dict().items()}
    facts = {"timm": "mobilenetv2_035", "mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5"}
    save_file(state, str(path), metadata=facts | {"pad_type": "same", "bn_eps": "0.001"})
    pair = load_pair(written(tmp_path, TIMM), str(path), 64, 64)
    assert not pair.text_weights
    assert (pair.image.spec.pad_type, pair.image.spec.mean) == ("same", (0.5, 0.5, 0.5))
    again = build_backbone(pair.image.spec)
    again.load_state_dict(pair.image.module.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(images), pair.image.module.eval()(images))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = save(model_of(VIT), tmp_path / "weights", "safetensors")
    other = VIT | {"vision_cfg": VIT["vision_cfg"] | {"layers": 2}}
    with pytest.raises(WeightsError, match="does not fit"):
        load_pair(written(tmp_path, other), str(path), 32, 32)
    plain = {key: value for key, value in VIT.items() if key != "quick_gelu"}
    openai = save(model_of(VIT), tmp_path / "openai", "openai")
    with pytest.raises(WeightsError, match="QuickGELU"):
        load_pair(written(tmp_path, plain), str(openai), 32, 32)
    with pytest.raises(WeightsError, match="no weights file"):
        load_pair(written(tmp_path, VIT), str(tmp_path / "gone.pt"), 32, 32)
    with pytest.raises(WeightsError, match="no default weights"):
        load_pair(written(tmp_path, VIT), None, 32, 32)
    (tmp_path / "junk.pt").write_bytes(b"nothing of use")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_pair(written(tmp_path, VIT), str(tmp_path / "junk.pt"), 32, 32)


def test_a_tag_whose_activation_differs_is_refused_before_any_download() -> None:
    with pytest.raises(WeightsError, match="ViT-B-16-quickgelu"):
        load_clip("ViT-B-16", "openai")


def test_unknown_models_name_their_neighbours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ViT-B-16"):
        load_clip("ViT-B16", None)
    with pytest.raises(InputError, match="descriptions need a CLIP model"):
        load_pair("resnet50", None, 256, 128)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match="does not describe a CLIP model"):
        load_clip(str(tmp_path / "bad.json"), None)
    with pytest.raises(InputError, match="text transformer"):
        build_clip({"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"hf_model_name": "roberta"}})


def test_text_that_does_not_end_in_the_last_token_is_refused() -> None:
    config = VIT | {"text_cfg": VIT["text_cfg"] | {"pool_type": "last"}}
    for custom in (False, True):
        with pytest.raises(InputError, match="pools by 'last'"):
            TextTower(model_of(config | {"custom_text": custom}))


def test_a_tower_that_pools_patches_is_refused() -> None:
    config = VIT | {"vision_cfg": VIT["vision_cfg"] | {"pool_type": "avg"}}
    with pytest.raises(InputError, match="class token"):
        tower_of(model_of(config).visual, 32, 32)


def test_a_spec_with_another_description_is_another_network(tmp_path: Path) -> None:
    spec = load_backbone(written(tmp_path, VIT), "none", 32, 32).spec
    larger = dataclasses.replace(spec, height=64)
    positions = build_backbone(larger).state_dict()["tower.visual.positional_embedding"]
    assert len(positions) == 8 * 4 + 1


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("layout", ["safetensors", "openai"])
def test_the_full_size_model_from_a_file(tmp_path: Path, layout: str) -> None:
    name = "ViT-B-16-quickgelu"
    torch.manual_seed(0)
    model: Any = build_clip(model_config(name)).eval()
    if layout == "openai":
        model = model.half().float()
    path = save(model, tmp_path / "weights", layout)
    images = torch.randn(2, 3, 224, 224)
    found = load_pair(f"open_clip:{name}", str(path), 224, 224).image.module.eval()(images)
    assert found.shape == (2, 1280)
    torch.testing.assert_close(found[:, 768:], model.encode_image(images), rtol=1e-5, atol=1e-5)
    tall = load_pair(f"open_clip:{name}", str(path), 256, 128).image.module.state_dict()
    positions = tall["tower.visual.positional_embedding"]
    expected = slow_positions(model.visual.positional_embedding, 14, (16, 8))
    torch.testing.assert_close(positions, expected, rtol=1e-4, atol=1e-4)
