"""FANA: exact area, untouched elsewhere, black in pixel space."""

import pytest
import torch

from trainer.backbone import load_backbone
from trainer.encoder import Encoder
from trainer.fana import Fana, select_area


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    loaded = load_backbone("small-cnn", "none", 32, 48)
    return Encoder(loaded.spec, loaded.module)


def test_the_selected_area_is_exact_even_on_a_flat_map() -> None:
    for activation in (torch.rand(3, 1, 20, 30), torch.zeros(3, 1, 20, 30)):
        selected = select_area(activation, 0.10)
        assert selected.flatten(1).sum(dim=1).tolist() == [60, 60, 60]


def test_the_most_active_pixels_are_selected() -> None:
    activation = torch.arange(100.0).view(1, 1, 10, 10)
    assert select_area(activation, 0.05).flatten().nonzero().flatten().tolist() == [*range(95, 100)]


@pytest.mark.parametrize("layer", ["conv", "bn"])
def test_noise_is_black_where_selected_and_nothing_else_changes(
    encoder: Encoder, layer: str
) -> None:
    fana = Fana(encoder, 0.10, layer)
    images = encoder.normalise(torch.rand(4, 3, 32, 48))
    noised = fana(images)
    changed = (noised != images).any(dim=1)
    assert abs(changed.float().mean().item() - 0.10) < 1 / (32 * 48)
    black = (0.0 - encoder.mean) / encoder.std
    pixels = noised.permute(0, 2, 3, 1)[changed]
    assert torch.equal(pixels, black.view(1, 3).expand_as(pixels))


def test_no_area_means_no_change(encoder: Encoder) -> None:
    images = encoder.normalise(torch.rand(2, 3, 32, 48))
    assert torch.equal(Fana(encoder, 0.0, "conv")(images), images)


def test_noise_has_no_gradient_and_keeps_the_stem_of_the_epoch_start(encoder: Encoder) -> None:
    fana = Fana(encoder, 0.10, "conv")
    images = encoder.normalise(torch.rand(2, 3, 32, 48)).requires_grad_(True)
    before = fana(images)
    assert not before.requires_grad
    with torch.no_grad():
        encoder.backbone.conv1.weight.add_(torch.randn_like(encoder.backbone.conv1.weight))
    assert torch.equal(fana(images), before)
