"""FANA: exact area, untouched elsewhere, black in pixel space."""

import dataclasses

import pytest
import torch

from edge.errors import InputError
from trainer.backbone import load_backbone
from trainer.encoder import Encoder
from trainer.fana import Fana, rectangles_on, select_area, thinned
from trainer.settings import FanaSettings


def settings(**changes: object) -> FanaSettings:
    paper = FanaSettings(
        area=0.10,
        layer="conv",
        reduction="mean",
        mode="pixels",
        fill="black",
        density=1.0,
        refresh="epoch",
    )
    return dataclasses.replace(paper, **changes)


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


@pytest.mark.parametrize("layer", ["conv", "bn", "stages.0.0"])
def test_noise_is_black_where_selected_and_nothing_else_changes(
    encoder: Encoder, layer: str
) -> None:
    fana = Fana(encoder, settings(layer=layer), 0)
    images = encoder.normalise(torch.rand(4, 3, 32, 48))
    noised = fana(images)
    changed = (noised != images).any(dim=1)
    assert abs(changed.float().mean().item() - 0.10) < 1 / (32 * 48)
    black = (0.0 - encoder.mean) / encoder.std
    pixels = noised.permute(0, 2, 3, 1)[changed]
    assert torch.equal(pixels, black.view(1, 3).expand_as(pixels))


def test_no_area_means_no_change(encoder: Encoder) -> None:
    images = encoder.normalise(torch.rand(2, 3, 32, 48))
    assert torch.equal(Fana(encoder, settings(area=0.0), 0)(images), images)


def test_noise_has_no_gradient_and_keeps_the_stem_of_the_epoch_start(encoder: Encoder) -> None:
    fana = Fana(encoder, settings(), 0)
    images = encoder.normalise(torch.rand(2, 3, 32, 48)).requires_grad_(True)
    before = fana(images)
    assert not before.requires_grad
    with torch.no_grad():
        encoder.backbone.conv1.weight.add_(torch.randn_like(encoder.backbone.conv1.weight))
    assert torch.equal(fana(images), before)


def test_a_step_refresh_follows_the_weights(encoder: Encoder) -> None:
    fana = Fana(encoder, settings(refresh="step", layer="bn"), 0)
    images = encoder.normalise(torch.rand(2, 3, 32, 48))
    encoder.train()
    before, statistics = fana(images), encoder.backbone.bn1.running_mean.clone()
    with torch.no_grad():
        encoder.backbone.conv1.weight.add_(torch.randn_like(encoder.backbone.conv1.weight))
    assert not torch.equal(fana(images), before)
    assert torch.equal(encoder.backbone.bn1.running_mean, statistics)


@pytest.mark.parametrize(
    ("reduction", "expected"), [("mean", 2.0), ("max", 4.0), ("l2", (4.0**2 + 2.0**2) ** 0.5)]
)
def test_channels_become_one_map(encoder: Encoder, reduction: str, expected: float) -> None:
    fana = Fana(encoder, settings(reduction=reduction), 0)
    channels = torch.tensor([4.0, 2.0, -3.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    fana.map_of = torch.nn.Identity()
    assert fana.activation(channels).mean().item() == pytest.approx(expected)


def test_mean_noise_is_zero_after_normalisation(encoder: Encoder) -> None:
    images = torch.full((1, 3, 32, 48), 2.0)
    noised = Fana(encoder, settings(fill="mean"), 0)(images)
    assert set(noised.unique().tolist()) == {0.0, 2.0}


def test_a_density_thins_the_noise_within_the_selected_area() -> None:
    selected = select_area(torch.rand(3, 1, 20, 30), 0.20)
    kept = thinned(selected, 0.25, torch.Generator().manual_seed(0))
    assert (kept & ~selected).sum() == 0
    assert kept.flatten(1).sum(dim=1).tolist() == [30, 30, 30]


def test_rectangles_cover_the_area_around_selected_pixels() -> None:
    selected = torch.zeros(2, 1, 40, 60, dtype=torch.bool)
    selected[0, 0, 5:15, 5:15] = True
    selected[1, 0, 25:35, 45:55] = True
    covered = rectangles_on(selected, 0.10, torch.Generator().manual_seed(0))
    share = covered.flatten(1).float().mean(dim=1)
    assert ((share >= 0.10) & (share < 0.125)).all()
    assert not covered[0, 0, 25:, 45:].any()
    assert not covered[1, 0, :15, :20].any()
    again = rectangles_on(selected, 0.10, torch.Generator().manual_seed(0))
    assert torch.equal(covered, again)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"layer": "layer9"}, "has no layer 'layer9'"),
        ({"layer": "project"}, "gives no maps"),
        ({"layer": "stages.0", "refresh": "step"}, "conv or bn only"),
    ],
)
def test_a_layer_that_cannot_serve_is_refused(
    encoder: Encoder, changes: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        Fana(encoder, settings(**changes), 0)
