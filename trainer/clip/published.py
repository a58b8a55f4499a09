"""Image towers of open_clip as published: `open_clip:NAME` gives the embedding that CLIP compares.

At CLIP's own normalisation and without its text tower. Training takes another feature of the same
towers (`trainer.clip.image`).
"""

from __future__ import annotations

from typing import Any

from edge.errors import InputError
from trainer.backbone import BackboneSpec, LoadedBackbone
from trainer.clip.towers import fit_size
from trainer.clip.weights import PREFIX, load_clip, model_config, visual_of


def load_tower(name: str, weights: str | None, size: tuple[int, int] | None) -> LoadedBackbone:
    """The image tower of an open_clip model for pictures of `size`, its own where None.

    `weights` is as `load_clip` takes it. Raises InputError for an unknown name or a size that the
    tower does not take, WeightsError where weights are not there or do not fit.
    """
    height, width = size or _own_size(model_config(name))
    loaded = load_clip(name, weights, image_only=True)
    visual = visual_of(loaded.model)
    fit_size(visual, height, width)
    if hasattr(visual, "output_tokens"):
        visual.__dict__["output_tokens"] = False  # the picture's embedding alone
    return LoadedBackbone(
        spec=BackboneSpec(
            name=f"{PREFIX}{name}",
            height=height,
            width=width,
            mean=loaded.mean,
            std=loaded.std,
            last_stride=1,
            pooling="average",
            pad_type="",
            bn_eps=None,
            described=None,
        ),
        module=visual,
        weights=loaded.weights,
        sha256=loaded.sha256,
    )


def _own_size(config: dict[str, Any]) -> tuple[int, int]:
    own = config["vision_cfg"].get("image_size")
    if not own:
        raise InputError("the model's configuration names no input size; give --size HxW")
    return (int(own), int(own)) if isinstance(own, int) else (int(own[0]), int(own[1]))
