"""Image towers of open_clip by name: `open_clip:ViT-B-16-quickgelu`. The text tower is left behind.

Weights come from a file, by a tag of open_clip's own list (downloaded), or, said aloud, not at
all. OpenAI's weights were trained with QuickGELU: a name without it, where the tag or the
configuration beside the file says otherwise, is an error and no warning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edge.errors import InputError, WeightsError
from trainer.backbone import NO_WEIGHTS, BackboneSpec, LoadedBackbone

CONFIG = "open_clip_config.json"  # as published beside weights on the hub
_TOWER = "visual."
_NO_TEXT = {"context_length": 4, "vocab_size": 4, "width": 8, "heads": 1, "layers": 1}


def load_tower(name: str, weights: str | None, size: tuple[int, int] | None) -> LoadedBackbone:
    """The image tower of an open_clip model for pictures of `size`, its own where None.

    `weights` is a file, a tag or "none". Raises InputError for an unknown name or a size that
    the tower does not take, WeightsError where weights are not there or do not fit.
    """
    config = _config_of(name)
    height, width = size or _own_size(config)
    if weights is None:
        raise InputError(
            f"open_clip:{name} needs --weights: a file, a tag ({_tags_of(name)}), or 'none' for "
            "random weights"
        )
    given = Path(weights)
    if weights == NO_WEIGHTS:
        model, source, sha256 = _build(name, config, height, width), NO_WEIGHTS, None
    elif given.suffix or given.exists():
        model = _from_file(name, config, given, height, width)
        source, sha256 = given.name, hashlib.sha256(given.read_bytes()).hexdigest()
    else:
        model, source, sha256 = _from_tag(name, config, weights, height, width), weights, None
    tower = _tower_of(model)
    mean, std = _normalisation(tower, given)
    return LoadedBackbone(
        spec=BackboneSpec(
            name=f"open_clip:{name}",
            height=height,
            width=width,
            mean=mean,
            std=std,
            last_stride=1,
            pooling="average",
            pad_type="",
            bn_eps=None,
        ),
        module=tower,
        weights=source,
        sha256=sha256,
    )


def _config_of(name: str) -> dict[str, Any]:
    import open_clip

    config: dict[str, Any] | None = open_clip.get_model_config(name)
    if config is None:
        begin = name.split("-")[0].lower()
        close = [one for one in open_clip.list_models() if one.lower().startswith(begin)]
        raise InputError(
            f"open_clip has no model named '{name}'"
            + (f"; it has for example {', '.join(close[:6])}" if close else "")
        )
    return config


def _own_size(config: dict[str, Any]) -> tuple[int, int]:
    own = config["vision_cfg"].get("image_size")
    if not own:
        raise InputError("the model's configuration names no input size; give --size HxW")
    return (int(own), int(own)) if isinstance(own, int) else (int(own[0]), int(own[1]))


def _tags_of(name: str) -> str:
    import open_clip

    return ", ".join(open_clip.list_pretrained_tags_by_model(name)[:5]) or "it has none"


def _build(name: str, config: dict[str, Any], height: int, width: int) -> nn.Module:
    """Random weights, with a text tower of no size."""
    return _create(name, config, height, width, text_cfg=_NO_TEXT, pretrained_text=False)


def _create(name: str, config: dict[str, Any], height: int, width: int, **more: Any) -> nn.Module:
    import open_clip

    if isinstance(config["vision_cfg"].get("layers"), list):
        if height != width:
            raise InputError(
                f"open_clip:{name} pools by attention over a square grid and takes no "
                f"{height}x{width} pictures; give a square --size, a multiple of 32"
            )
        size: Any = height
    else:
        size = (height, width)
    logging.disable(logging.WARNING)  # open_clip tells its steps to the root logger
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model: nn.Module = open_clip.create_model(name, force_image_size=size, **more)
            return model
        except (RuntimeError, ValueError, AssertionError, OSError) as error:
            raise WeightsError(
                f"open_clip cannot make {name} at {height}x{width} "
                f"({str(error).splitlines()[0]}); check --weights and --size"
            ) from error
        finally:
            logging.disable(logging.NOTSET)


def _tower_of(model: nn.Module) -> nn.Module:
    tower = model.visual
    assert isinstance(tower, nn.Module)
    if hasattr(tower, "output_tokens"):
        tower.__dict__["output_tokens"] = False  # the picture's embedding alone
    return tower


def _from_tag(name: str, config: dict[str, Any], tag: str, height: int, width: int) -> nn.Module:
    import open_clip

    published = open_clip.get_pretrained_cfg(name, tag)
    if not published:
        raise WeightsError(
            f"there is no weights file {tag}, and no tag of that name for open_clip:{name} (tags: "
            f"{_tags_of(name)})"
        )
    _require_activation(name, config, bool(published.get("quick_gelu", False)), f"'{tag}'")
    return _create(name, config, height, width, pretrained=tag)


def _require_activation(name: str, config: dict[str, Any], wanted: bool, what: str) -> None:
    if bool(config.get("quick_gelu", False)) == wanted:
        return
    bare = name.removesuffix("-quickgelu")
    right = f"{bare}-quickgelu" if wanted else bare
    raise WeightsError(
        f"the weights {what} were trained {'with' if wanted else 'without'} QuickGELU, which "
        f"open_clip:{name} {'lacks' if wanted else 'has'}: use open_clip:{right}"
    )


def _from_file(name: str, config: dict[str, Any], path: Path, height: int, width: int) -> nn.Module:
    from open_clip.model import resize_pos_embed

    published = _config_beside(path)
    if published:
        quick = bool(published.get("model_cfg", {}).get("quick_gelu", False))
        _require_activation(name, config, quick, path.name)
    tensors = _read_tensors(path)
    model = _build(name, config, height, width)
    resize_pos_embed(tensors, model)
    own = {
        key.removeprefix(_TOWER): value for key, value in tensors.items() if key.startswith(_TOWER)
    }
    try:
        _tower_of(model).load_state_dict(own)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not fit the image tower of open_clip:{name} "
            f"({' '.join(str(error).split())[:200]}); check the name, and --size"
        ) from error
    return model


def _config_beside(path: Path) -> dict[str, Any]:
    beside = path.with_name(CONFIG)
    if not beside.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{beside} cannot be read ({error}); download it again") from error
    return content


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(
            f"there is no weights file {path}; give --weights with a file of the whole model "
            "(.safetensors or .bin), a tag, or 'none' for random weights"
        )
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, Tensor] = load_file(str(path))
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
            tensors = content.get("state_dict", content)
            tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    except (SafetensorError, OSError, RuntimeError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{path} cannot be read as weights ({str(error).splitlines()[0]}); convert them with "
            "safetensors.torch.save_file"
        ) from error
    if not any(key.startswith(_TOWER) for key in tensors):
        raise WeightsError(f"{path} holds no image tower: no tensor's name begins with {_TOWER}")
    return tensors


def _normalisation(
    tower: nn.Module, weights: Path
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """What the configuration beside the weights says, else what open_clip has for the model."""
    own = _config_beside(weights).get("preprocess_cfg", {})
    mean, std = (
        tuple(float(value) for value in own.get(key) or getattr(tower, f"image_{key}"))
        for key in ("mean", "std")
    )
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])
