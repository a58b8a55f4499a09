"""Augmentation: repeatable, within range, and no more than its name says."""

import dataclasses

import pytest
import torch

from trainer import recipes
from trainer.augment import augmented, cover, mirror
from trainer.settings import AugmentSettings

PAPER = recipes.paper("fancl", 1, 100).augment
GREY = torch.full((1, 3, 1, 1), 0.5)


def batch() -> torch.Tensor:
    return torch.rand(16, 3, 24, 32, generator=torch.Generator().manual_seed(5))


def changed(settings: AugmentSettings, seed: int) -> torch.Tensor:
    return augmented(batch(), settings, torch.Generator().manual_seed(seed), GREY)


@pytest.mark.parametrize("kind", ["weak", "light", "strong"])
@pytest.mark.parametrize("flip", [True, False])
def test_the_same_seed_changes_pictures_the_same_way(kind: str, flip: bool) -> None:
    settings = dataclasses.replace(PAPER, kind=kind, flip=flip, erasing=True)
    first = changed(settings, 1)
    assert first.shape == batch().shape
    assert 0.0 <= first.min() <= first.max() <= 1.0
    assert torch.equal(first, changed(settings, 1))
    assert not torch.equal(first, changed(settings, 2))


def test_half_of_the_pictures_are_mirrored() -> None:
    pictures = torch.rand(400, 1, 2, 3)
    found = mirror(pictures, torch.Generator().manual_seed(0))
    flipped = (found == pictures.flip(3)).flatten(1).all(dim=1)
    same = (found == pictures).flatten(1).all(dim=1)
    assert (flipped ^ same).all()
    assert 0.4 < flipped.float().mean() < 0.6


def test_weak_pictures_are_shifted_by_ten_pixels_at_most_and_nothing_else() -> None:
    pictures = batch()
    settings = dataclasses.replace(PAPER, flip=False)
    found = augmented(pictures, settings, torch.Generator().manual_seed(0), GREY)
    padded = torch.nn.functional.pad(pictures, (10,) * 4)
    for picture, wide in zip(found, padded, strict=True):
        windows = wide.unfold(1, 24, 1).unfold(2, 32, 1)  # [3, 21, 21, 24, 32]
        equal = (windows == picture[:, None, None]).flatten(3).all(dim=3).all(dim=0)
        assert equal.any()


def test_a_covered_rectangle_has_one_colour_and_a_bounded_area() -> None:
    pictures = torch.zeros(300, 3, 40, 40)
    found = cover(pictures, torch.Generator().manual_seed(0), 0.40, torch.ones(1, 3, 1, 1))
    area = found[:, 0].flatten(1).mean(dim=1)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert 0.4 < (area > 0).float().mean() < 0.6
    assert area.max() <= 0.45
