"""A CLIP image tower as a backbone like any other, and the text tower it was trained with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from torch import nn

from edge.errors import InputError
from trainer import backbone
from trainer.backbone import BackboneSpec, LoadedBackbone
from trainer.clip.text import TextTower
from trainer.clip.towers import ClipBackbone, tower_of
from trainer.clip.weights import PREFIX, LoadedClip, build_clip, load_clip, model_config, visual_of

# IndivAID's own normalisation, not CLIP's.
_VIT_MEAN_STD = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_RESNET_MEAN_STD = (backbone.IMAGENET_MEAN, backbone.IMAGENET_STD)


@dataclass(frozen=True, kw_only=True)
class ClipPair:
    """Both towers of one CLIP model."""

    image: LoadedBackbone
    text: TextTower
    text_weights: bool  # False: the text tower is at random


def load_pair(name: str, weights: str | None, height: int, width: int) -> ClipPair:
    """Both towers of `open_clip:NAME` for pictures of that size.

    Raises InputError for what is no CLIP model of a known kind, WeightsError for weights that
    cannot be had or do not fit.
    """
    if not name.startswith(PREFIX):
        raise InputError(
            f"descriptions need a CLIP model, and {name} is none: give --backbone "
            f"{PREFIX}ViT-B-16-quickgelu, another of open_clip, or {PREFIX}FILE.json"
        )
    loaded = load_clip(name.removeprefix(PREFIX), weights)
    text = TextTower(loaded.model)
    return ClipPair(
        image=_image_side(name, loaded, height, width), text=text, text_weights=loaded.text_weights
    )


def load_image_tower(name: str, weights: str | None, height: int, width: int) -> LoadedBackbone:
    """The image tower of `open_clip:NAME`, as `load_pair` raises."""
    return _image_side(name, load_clip(name.removeprefix(PREFIX), weights), height, width)


def build_image_tower(spec: BackboneSpec) -> nn.Module:
    """The architecture with random weights."""
    visual = visual_of(build_clip(_config(spec)))
    trunk = _trunk(_config(spec))
    if trunk is not None and (spec.pad_type or spec.bn_eps is not None):
        visual.trunk = backbone.build_timm(spec, trunk)
    return ClipBackbone(tower_of(visual, spec.height, spec.width))


def _image_side(name: str, loaded: LoadedClip, height: int, width: int) -> LoadedBackbone:
    bare = name.removeprefix(PREFIX)
    config = model_config(bare)
    trunk = _trunk(config)
    mean, std = _RESNET_MEAN_STD if isinstance(_layers(config), list) else _VIT_MEAN_STD
    pad_type, bn_eps = "", None
    if trunk is not None:
        timm = loaded.timm or backbone.timm_spec(trunk, height, width)
        mean, std, pad_type, bn_eps = timm.mean, timm.std, timm.pad_type, timm.bn_eps
    return LoadedBackbone(
        spec=BackboneSpec(
            name=name,
            height=height,
            width=width,
            mean=mean,
            std=std,
            last_stride=1,
            pooling="average",
            pad_type=pad_type,
            bn_eps=bn_eps,
            described=json.dumps(config, sort_keys=True) if bare.endswith(".json") else None,
        ),
        module=ClipBackbone(tower_of(visual_of(loaded.model), height, width)),
        weights=loaded.weights,
        sha256=loaded.sha256,
    )


def _config(spec: BackboneSpec) -> dict[str, Any]:
    if spec.described is None:
        return model_config(spec.name.removeprefix(PREFIX))
    config: dict[str, Any] = json.loads(spec.described)
    return config


def _trunk(config: dict[str, Any]) -> str | None:
    name: str | None = config["vision_cfg"].get("timm_model_name")
    return name


def _layers(config: dict[str, Any]) -> object:
    return config["vision_cfg"].get("layers")
