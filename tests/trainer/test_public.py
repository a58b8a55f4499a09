"""Published encoders: from a folder as downloaded from the hub, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from edge.errors import InputError, WeightsError
from trainer.evaluation import hub, public
from trainer.evaluation.public import MiewId, load_public


@pytest.fixture
def downloaded(tmp_path: Path) -> Path:
    """A tiny transformer with a classifier, as the hub would have given it."""
    return save(tmp_path / "vit", "test_vit")


def save(folder: Path, architecture: str) -> Path:
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=7)
    config = {"input_size": (3, 160, 160), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
    save_for_hf(model, str(folder), model_config=config, safe_serialization=True)
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["pretrained_cfg"] |= config
    path.write_text(json.dumps(content))
    return folder


def pixels(height: int, width: int) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("architecture", ["test_vit", "test_resnet"])
def test_a_downloaded_encoder_gives_the_features_it_was_saved_with(
    architecture: str, tmp_path: Path
) -> None:
    folder = save(tmp_path / "model", architecture)
    torch.manual_seed(0)
    original = timm.create_model(architecture, num_classes=7).eval()
    for weights in (folder, folder / "model.safetensors"):
        loaded = load_public("hf-hub:someone/else", str(weights), None)
        assert (loaded.spec.height, loaded.spec.width) == (160, 160)
        assert loaded.spec.mean == (0.5, 0.4, 0.3)
        assert loaded.spec.std == (0.2, 0.25, 0.3)
        images = pixels(160, 160)
        with torch.no_grad():
            expected = original.forward_head(original.forward_features(images), pre_logits=True)
            torch.testing.assert_close(loaded.module.eval()(images), expected)


def test_a_local_folder_needs_no_hub_name_and_a_size_can_be_given(downloaded: Path) -> None:
    loaded = load_public(f"local-dir:{downloaded}", None, (96, 128))
    assert (loaded.spec.height, loaded.spec.width) == (96, 128)
    assert loaded.module.eval()(pixels(96, 128)).shape == (2, 64)


def test_a_missing_tensor_is_no_random_one(downloaded: Path) -> None:
    path = downloaded / "model.safetensors"
    tensors = load_file(str(path))
    removed = next(key for key in tensors if key.endswith("attn.qkv.weight"))
    save_file({key: value for key, value in tensors.items() if key != removed}, str(path))
    with pytest.raises(WeightsError, match="does not fit test_vit"):
        load_public(f"local-dir:{downloaded}", None, None)


def test_a_configuration_without_a_size_asks_for_one(downloaded: Path) -> None:
    path = downloaded / "config.json"
    content = json.loads(path.read_text())
    del content["pretrained_cfg"]["input_size"], content["input_size"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="names no input size; give --size HxW"):
        load_public(f"local-dir:{downloaded}", None, None)
    with pytest.raises(InputError, match="small-cnn has no input size of its own; give --size"):
        load_public("small-cnn", "none", None)


def test_sizes_of_timm_names_are_their_own() -> None:
    loaded = load_public("test_resnet", "none", None)
    assert (loaded.spec.height, loaded.spec.width) == (160, 160)


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        ("zoo:lion", None, "timm:zoo:lion names no encoder; write timm:NAME"),
        ("hf-hub:", None, "names no encoder"),
        ("hf-hub:a/b", "none", "--weights none is for timm:NAME"),
        ("hf-hub:a/b", "no/such/place", "there is no folder or file no/such/place; give a folder"),
        ("no_such_net", None, "no backbone is named 'no_such_net'"),
    ],
)
def test_what_names_no_encoder_is_refused_with_what_would(
    name: str, weights: str | None, sentence: str
) -> None:
    with pytest.raises((InputError, WeightsError), match=sentence):
        load_public(name, weights, None)


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_half_a_download_is_refused(downloaded: Path, missing: str) -> None:
    (downloaded / missing).unlink()
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_public("hf-hub:a/b", str(downloaded), None)


def test_without_a_network_the_refusal_comes_at_once_and_says_what_to_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin into one folder"):
        hub.fetch("someone/nothing@v1")


def test_an_earlier_download_serves_without_a_network(
    downloaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--someone--animals"
    (repository / "snapshots").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    downloaded.rename(repository / "snapshots" / "abc")
    loaded = load_public("hf-hub:someone/animals", None, None)
    assert loaded.weights == "model.safetensors"
    assert loaded.spec.mean == (0.5, 0.4, 0.3)


def test_miewid_pools_by_a_learnt_power_and_normalises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public, "_MIEWID_BACKBONE", "test_efficientnet")  # the real one: 200 MB
    torch.manual_seed(3)
    made = MiewId("test_efficientnet")
    with torch.no_grad():
        made.power.fill_(2.5)
        made.bn.running_mean.uniform_(-1, 1)
        made.bn.weight.uniform_(0.5, 2)
    tensors = {key.replace("power", "pooling.p"): value for key, value in made.state_dict().items()}
    tensors["final.weight"] = torch.zeros(5, 5)  # its training head
    save_file(tensors, str(tmp_path / "model.safetensors"))
    (tmp_path / "config.json").write_text('{"architectures": ["MiewIdNet"]}')
    loaded = load_public("hf-hub:conservationxlabs/miewid-msv3", str(tmp_path), None)
    assert (loaded.spec.height, loaded.spec.width) == (440, 440)
    with torch.no_grad():
        maps = made.backbone.eval()(pixels(64, 64)).double().numpy()
        found = loaded.module.eval()(pixels(64, 64)).double().numpy()
    pooled = np.mean(np.maximum(maps, 1e-6) ** 2.5, axis=(2, 3)) ** (1 / 2.5)
    mean, weight = made.bn.running_mean.numpy(), made.bn.weight.detach().numpy()
    np.testing.assert_allclose(found, (pooled - mean) / np.sqrt(1 + 1e-5) * weight, rtol=1e-4)


def test_an_encoder_for_another_library_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, str(tmp_path / "model.safetensors"))
    (tmp_path / "config.json").write_text('{"architectures": ["OtherNet"]}')
    with pytest.raises(WeightsError, match="only encoders made for timm, and MiewID"):
        load_public("hf-hub:a/b", str(tmp_path), None)
