"""Everything of IndivAID that learns, and the losses of its second stage."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.clip.losses import euclidean_distances, smoothed_cross_entropy
from trainer.clip.merging import Attention, Bank
from trainer.clip.prompts import Generator
from trainer.clip.settings import Stage2Settings
from trainer.clip.towers import ImageFeatures, ImageTower
from trainer.triplet import batch_hard

_CLASSIFIER_STD = 0.001


class Heads(nn.Module):
    """BN necks on the pooled and the projected feature, a classifier on each."""

    def __init__(self, pooled_width: int, projected_width: int, num_identities: int) -> None:
        super().__init__()
        self.pooled_neck, self.projected_neck = _neck(pooled_width), _neck(projected_width)
        self.pooled_classifier = _classifier(pooled_width, num_identities)
        self.projected_classifier = _classifier(projected_width, num_identities)

    def forward(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        """Logits [N, I] of both."""
        return (
            self.pooled_classifier(self.pooled_neck(features.pooled_ND)),
            self.projected_classifier(self.projected_neck(features.projected_ND)),
        )


def _neck(width: int) -> nn.BatchNorm1d:
    neck = nn.BatchNorm1d(width)
    neck.bias.requires_grad_(False)
    return neck


def _classifier(width: int, num_identities: int) -> nn.Linear:
    layer = nn.Linear(width, num_identities, bias=False)
    nn.init.normal_(layer.weight, std=_CLASSIFIER_STD)
    return layer


class Networks(nn.Module):
    """The image tower and its heads; the generator and the attention, where the method has them."""

    def __init__(
        self,
        tower: ImageTower,
        heads: Heads,
        generator: Generator | None,
        attention: Attention | None,
    ) -> None:
        super().__init__()
        self.tower, self.heads = tower, heads
        self.generator, self.attention = generator, attention


@dataclass(frozen=True, kw_only=True)
class Stage2Losses:
    """Scalars; the parts are not weighted and carry no gradient."""

    total: Tensor
    identity: Tensor
    triplet: Tensor
    text: Tensor


def stage2_loss(
    features: ImageFeatures,
    heads: Heads,
    text_logits_BI: Tensor | None,
    label_B: Tensor,
    settings: Stage2Settings,
) -> Stage2Losses:
    """Identities by both classifiers, triplets of three raw features, pictures against texts."""
    smoothing = settings.smoothing
    by_identity = torch.stack(
        [smoothed_cross_entropy(logits, label_B, smoothing) for logits in heads(features)]
    ).sum()
    by_triplet = torch.stack(
        [
            batch_hard(euclidean_distances(values_ND), label_B, settings.margin)
            for values_ND in (features.early_ND, features.pooled_ND, features.projected_ND)
        ]
    ).sum()
    by_text = by_identity.new_zeros(())
    if text_logits_BI is not None:
        by_text = smoothed_cross_entropy(text_logits_BI, label_B, smoothing)
    total = (
        settings.identity_weight * by_identity
        + settings.triplet_weight * by_triplet
        + settings.text_weight * by_text
    )
    return Stage2Losses(
        total=total,
        identity=by_identity.detach(),
        triplet=by_triplet.detach(),
        text=by_text.detach(),
    )


def text_logits(
    projected_ND: Tensor, attention: Attention | None, bank: Bank, texts_ID: Tensor | None
) -> Tensor:
    """[N, I]: raw dot products with each identity's text, made for the picture or fixed."""
    if texts_ID is not None:
        return projected_ND @ texts_ID.T
    assert attention is not None
    logits_NI: Tensor = attention(projected_ND, bank)
    return logits_NI


def new_optimiser(
    networks: Networks, generator_decay: float, image_decay: float, device: torch.device
) -> torch.optim.Adam:
    """Three groups: the generator's, then the image side's weights, then its biases."""
    image = [networks.tower, networks.heads, networks.attention]
    named = [
        (name, one)
        for part in image
        if part is not None
        for name, one in part.named_parameters()
        if one.requires_grad
    ]
    groups = [
        {
            "params": list(networks.generator.parameters()) if networks.generator else [],
            "weight_decay": generator_decay,
        },
        {
            "params": [one for name, one in named if "bias" not in name],
            "weight_decay": image_decay,
        },
        {"params": [one for name, one in named if "bias" in name], "weight_decay": image_decay},
    ]
    return torch.optim.Adam(groups, lr=0.0, fused=device.type == "cuda")
