"""CLIP models of open_clip by name or from a description, with weights that fit or an error.

open_clip warns where activations do not fit the weights, and starts at random where it finds no
weights; here both stop.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edge.errors import InputError, WeightsError
from trainer.backbone import NO_WEIGHTS, BackboneSpec, load_backbone

PREFIX = "open_clip:"
CONFIG = "open_clip_config.json"  # as published beside weights on the hub
_OPENAI_ONLY = ("input_resolution", "context_length", "vocab_size")  # in OpenAI's own files
_OPENAI = "openai"
_NO_TEXT = {"context_length": 4, "vocab_size": 4, "width": 8, "heads": 1, "layers": 1}
_TOWER = "visual."
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class LoadedClip:
    """A whole CLIP model: image and text tower."""

    model: nn.Module
    weights: str  # "none", a tag of open_clip, or the file's name
    sha256: str | None  # of the file
    text_weights: bool  # False: the text tower is at random
    timm: BackboneSpec | None  # of the image tower's trunk, where a file of its own gave it
    mean: Triple  # of RGB in [0, 1], as these weights were trained
    std: Triple


def model_config(name: str) -> dict[str, Any]:
    """open_clip's description of a model: by its name, or from a JSON file in the same form.

    Raises InputError where there is none.
    """
    import open_clip

    if name.endswith(".json"):
        return _config_file(Path(name))
    config: dict[str, Any] | None = open_clip.get_model_config(name)
    if config is None:
        close = difflib.get_close_matches(name, open_clip.list_models(), n=5, cutoff=0.3)
        raise InputError(
            f"open_clip has no model '{name}'; near to it: {', '.join(close)}"
            if close
            else f"open_clip has no model '{name}'; for example ViT-B-16-quickgelu"
        )
    return config


def _config_file(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = content["embed_dim"], content["vision_cfg"], content["text_cfg"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} does not describe a CLIP model ({error!r}); it takes embed_dim, vision_cfg "
            "and text_cfg, as open_clip's own descriptions do"
        ) from error
    return content


def build_clip(config: dict[str, Any]) -> nn.Module:
    """The architecture with random weights; raises InputError where open_clip cannot build it."""
    from open_clip.model import CLIP, CustomTextCLIP

    wanted = dict(config)
    custom = wanted.pop("custom_text", False)
    if "multimodal_cfg" in wanted or "hf_model_name" in wanted["text_cfg"]:
        raise InputError(
            "only CLIP models with CLIP's own text transformer are known here; use for example "
            "open_clip:ViT-B-16-quickgelu"
        )
    try:
        return CustomTextCLIP(**wanted) if custom else CLIP(**wanted)
    except (TypeError, RuntimeError, ValueError, AssertionError) as error:
        raise InputError(f"open_clip cannot build this model: {error}") from error


def visual_of(model: nn.Module) -> nn.Module:
    """The image tower of a CLIP model."""
    visual = model.visual
    assert isinstance(visual, nn.Module)
    return visual


def load_clip(name: str, weights: str | None, image_only: bool = False) -> LoadedClip:
    """The model `name` of open_clip; `weights` is a tag, a file, "none", or None: OpenAI's.

    A file holds a whole model (safetensors, or a pickled state dict, open_clip's or OpenAI's), or
    a timm image tower alone: then the text tower is at random, which `text_weights` tells. With
    `image_only` the text tower is left out, whatever its kind. Raises WeightsError where weights
    cannot be had or do not fit.
    """
    config, tags = model_config(name), _tags(name)
    chosen = weights or (_OPENAI if _OPENAI in tags else "")
    if chosen in tags:
        _require_activation(name, config, tags[chosen].get("quick_gelu", False), chosen)
        mean, std = _normalisation(tags[chosen])
        return LoadedClip(
            model=_downloaded(name, chosen),
            weights=chosen,
            sha256=None,
            text_weights=True,
            timm=None,
            mean=mean,
            std=std,
        )
    if image_only:
        config = {
            key: value for key, value in config.items() if key in ("embed_dim", "quick_gelu")
        } | {"vision_cfg": config["vision_cfg"], "text_cfg": _NO_TEXT}
    if chosen == NO_WEIGHTS:
        mean, std = _normalisation({})
        return LoadedClip(
            model=build_clip(config),
            weights=NO_WEIGHTS,
            sha256=None,
            text_weights=False,
            timm=None,
            mean=mean,
            std=std,
        )
    if not chosen or not Path(chosen).is_file():
        known = f"one of its tags ({', '.join(tags)})" if tags else "a file (it has no tags)"
        missing = f"there is no weights file {chosen}" if chosen else "it has no default weights"
        raise WeightsError(
            f"{name}: {missing}; give --weights with {known}, or 'none' for a random start"
        )
    return _from_file(name, config, Path(chosen), image_only)


def _normalisation(published: dict[str, Any]) -> tuple[Triple, Triple]:
    """What is published with the weights, else OpenAI's."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    mean = published.get("mean") or OPENAI_DATASET_MEAN
    std = published.get("std") or OPENAI_DATASET_STD
    return _triple(mean), _triple(std)


def _triple(values: Any) -> Triple:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _tags(name: str) -> dict[str, dict[str, Any]]:
    import open_clip

    if name.endswith(".json"):
        return {}
    return {
        tag: open_clip.get_pretrained_cfg(name, tag)
        for tag in open_clip.list_pretrained_tags_by_model(name)
    }


def _require_activation(name: str, config: dict[str, Any], quick: bool, what: str) -> None:
    if bool(config.get("quick_gelu", False)) == quick:
        return
    other = f"{name}-quickgelu" if quick else name.removesuffix("-quickgelu")
    raise WeightsError(
        f"{what} was trained with {'QuickGELU' if quick else 'GELU'}, and {name} computes "
        f"{'GELU' if quick else 'QuickGELU'}: its features would be wrong. Use {PREFIX}{other}"
    )


def _downloaded(name: str, tag: str) -> nn.Module:
    import open_clip

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        model: nn.Module = open_clip.create_model(
            name, pretrained=tag, precision="fp32", require_pretrained=True
        )
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"cannot get the weights {tag} of {name} ({str(error).splitlines()[0]}). Without "
            "internet, bring the file and give --weights FILE, or start from random weights "
            "with --weights none"
        ) from error
    return model


def _from_file(name: str, config: dict[str, Any], path: Path, image_only: bool) -> LoadedClip:
    published = _config_beside(path)
    if published:
        quick = bool(published.get("model_cfg", {}).get("quick_gelu", False))
        _require_activation(name, config, quick, what=path.name)
    tensors = read_state(path)
    timm: BackboneSpec | None = None
    whole = any(key.startswith((_TOWER, f"module.{_TOWER}")) for key in tensors)
    if whole:
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
        if any(key in tensors for key in _OPENAI_ONLY):
            _require_activation(name, config, quick=True, what=path.name)
            tensors = {key: one for key, one in tensors.items() if key not in _OPENAI_ONLY}
        model = build_clip(config)
        _fill(model, tensors, path, name, image_only)
    else:
        model, timm = _with_timm_tower(config, path, name)
    mean, std = _normalisation(published.get("preprocess_cfg", {}))
    return LoadedClip(
        model=model,
        weights=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        text_weights=whole,
        timm=timm,
        mean=mean,
        std=std,
    )


def _config_beside(path: Path) -> dict[str, Any]:
    beside = path.with_name(CONFIG)
    if not beside.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{beside} cannot be read ({error}); download it again") from error
    return content


def read_state(path: Path) -> dict[str, Tensor]:
    """float32 tensors by name from safetensors or a pickled state dict; no code is run."""
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(str(path))
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise WeightsError(
            f"{path} cannot be read as weights ({str(error).splitlines()[0]}); bring a "
            ".safetensors file or a pickled state dict. OpenAI's own .pt is a program, not "
            "weights: its state_dict() must be saved first, or take open_clip_model.safetensors "
            "of the same model from the Hugging Face hub"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path} holds no state dict; bring the weights as published")
    return {
        key: value.float() if value.is_floating_point() else value
        for key, value in content.items()
        if isinstance(value, Tensor)
    }


def _fill(
    model: nn.Module, tensors: dict[str, Tensor], path: Path, name: str, image_only: bool
) -> None:
    from open_clip.model import CLIP, convert_to_custom_text_state_dict

    into = model
    if image_only:
        into = visual_of(model)
        tensors = {
            key.removeprefix(_TOWER): value
            for key, value in tensors.items()
            if key.startswith(_TOWER)
        }
    elif not isinstance(model, CLIP):
        tensors = convert_to_custom_text_state_dict(tensors)
    try:
        into.load_state_dict(tensors)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} does not fit open_clip's {name}: {first}") from error


def _with_timm_tower(
    config: dict[str, Any], path: Path, name: str
) -> tuple[nn.Module, BackboneSpec]:
    """The model with its image tower's trunk from a file of timm weights, and what that says."""
    from open_clip.timm_model import TimmModel

    model = build_clip(config)
    trunk = config["vision_cfg"].get("timm_model_name")
    visual = visual_of(model)
    if trunk is None or not isinstance(visual, TimmModel):
        raise WeightsError(
            f"{path} holds no CLIP model (no tensor begins with 'visual.'), and {name} has no "
            "image tower of timm that it could be for"
        )
    height, width = visual.image_size
    loaded = load_backbone(trunk, str(path), height, width)
    visual.trunk = loaded.module
    return model, loaded.spec
