"""Published encoders by name: timm's own, the hub's (MegaDescriptor), MiewID, open_clip's.

Input size, mean and standard deviation come from the model's own configuration. Pictures are
squashed to the size, as everywhere here, whatever resampling or centre crop its authors used.
Training starts from `trainer.backbone` alone and does not come through here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edge.errors import InputError, WeightsError
from trainer.backbone import (
    IMAGENET,
    IMAGENET_MEAN,
    IMAGENET_STD,
    NO_WEIGHTS,
    RESNET50,
    SMALL_CNN,
    BackboneSpec,
    LoadedBackbone,
    load_backbone,
)
from trainer.evaluation import hub

TIMM, OPEN_CLIP = "timm:", "open_clip:"
Size = tuple[int, int]  # height, width in pixels
_HUB, _LOCAL = "hf-hub", "local-dir"
_RESNET50_SIZE = (224, 224)  # of torchvision's ImageNet weights
_MIEWID_BACKBONE, _MIEWID_SIZE = "efficientnetv2_rw_m", (440, 440)
_GEM_MIN = 1e-6  # keeps the power of the pooling finite


@dataclass(frozen=True, kw_only=True)
class _Published:
    """What a config.json says, as far as it is used."""

    folder: Path
    weights: Path
    architecture: str | None  # of timm; None: the file is not for timm
    size: Size | None
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None


def is_published(source: str) -> bool:
    """Whether SOURCE is an encoder by name, which may have to be downloaded."""
    return source.startswith((TIMM, OPEN_CLIP))


def load_published(source: str, weights: str | None, size: Size | None) -> LoadedBackbone:
    """The encoder at `timm:...` or `open_clip:NAME`; raises InputError or WeightsError."""
    if source.startswith(OPEN_CLIP):
        from trainer.clip.published import load_tower  # loads open_clip

        return load_tower(source.removeprefix(OPEN_CLIP), weights, size)
    return load_public(source.removeprefix(TIMM), weights, size)


def load_public(name: str, weights: str | None, size: Size | None) -> LoadedBackbone:
    """An encoder by NAME of timm, `hf-hub:ORG/NAME` or `local-dir:FOLDER`, for pictures of `size`.

    `weights` is, for a NAME of timm, what `load_backbone` takes; for a hub name a folder or file
    that stands in for the download. Raises InputError where no size is known and none is given,
    WeightsError where weights cannot be had or do not fit.
    """
    source, colon, rest = name.partition(":")
    if not colon:
        height, width = size or _own_size(name)
        return load_backbone(name, weights, height, width)
    if source not in (_HUB, _LOCAL) or not rest:
        raise InputError(
            f"timm:{name} names no encoder; write timm:NAME, timm:{_HUB}:ORG/NAME or "
            f"timm:{_LOCAL}:FOLDER"
        )
    if weights in (NO_WEIGHTS, IMAGENET):
        raise InputError(
            f"--weights {weights} is for timm:NAME; for timm:{source}: give a folder with "
            f"{hub.CONFIG} and weights, or leave it out"
        )
    given = rest if source == _LOCAL and weights is None else weights
    published = _read(hub.fetch(rest) if given is None else Path(given))
    return _load(name, published, size)


def _own_size(name: str) -> Size:
    """Raises InputError for a model that was published for no particular size."""
    if name == RESNET50:
        return _RESNET50_SIZE
    import timm

    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None and name != SMALL_CNN:
        return _RESNET50_SIZE  # no such model: load_backbone says which there are
    if config is None or not config.input_size:
        raise InputError(
            f"{name} has no input size of its own; give --size HxW, for example --size 64x96"
        )
    return int(config.input_size[1]), int(config.input_size[2])


def _read(given: Path) -> _Published:
    """A folder with config.json and weights, or a weights file with config.json beside it."""
    if not given.exists():
        raise WeightsError(
            f"there is no folder or file {given}; give a folder with {hub.CONFIG} and "
            f"{hub.WEIGHT_FILES[0]}, as downloaded from the model's page"
        )
    folder = given if given.is_dir() else given.parent
    weights = _weights_in(given) if given.is_dir() else given
    config = folder / hub.CONFIG
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        own = content.get("pretrained_cfg", content)
        size = own.get("input_size") or content.get("input_size")
        return _Published(
            folder=folder,
            weights=weights,
            architecture=content.get("architecture"),
            size=(int(size[1]), int(size[2])) if size else None,
            mean=_triple(own["mean"]) if own.get("mean") else None,
            std=_triple(own["std"]) if own.get("std") else None,
        )
    except (OSError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise WeightsError(
            f"{config} does not tell what {weights.name} is for ({error}); download both from "
            "the model's page into one folder"
        ) from error


def _weights_in(folder: Path) -> Path:
    found = [folder / name for name in hub.WEIGHT_FILES if (folder / name).is_file()]
    found += sorted(folder.glob("*.safetensors"))
    if not found:
        raise WeightsError(
            f"{folder} holds no weights; it takes {hub.CONFIG} and {hub.WEIGHT_FILES[0]}, as "
            "downloaded from the model's page"
        )
    return found[0]


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _load(name: str, published: _Published, size: Size | None) -> LoadedBackbone:
    if published.architecture is None:
        tensors = _miewid_tensors(published)
        height, width = size or published.size or _MIEWID_SIZE
        module: nn.Module = _fitted(MiewId(_MIEWID_BACKBONE), tensors, published.weights)
        mean, std = published.mean or IMAGENET_MEAN, published.std or IMAGENET_STD
    else:
        known = size or published.size
        if known is None:
            raise InputError(
                f"{published.folder / hub.CONFIG} names no input size; give --size HxW, for "
                "example --size 224x224"
            )
        if published.mean is None or published.std is None:
            raise WeightsError(
                f"{published.folder / hub.CONFIG} does not say how pictures are normalised (mean "
                "and std); download it again from the model's page"
            )
        height, width = known
        mean, std = published.mean, published.std
        module = _timm_model(published, height, width)
    return LoadedBackbone(
        spec=BackboneSpec(
            name=name,
            height=height,
            width=width,
            mean=mean,
            std=std,
            last_stride=1,
            pooling="average",
            pad_type="",
            bn_eps=None,
            described=None,
        ),
        module=module,
        weights=published.weights.name,
        sha256=hashlib.sha256(published.weights.read_bytes()).hexdigest(),
    )


def _timm_model(published: _Published, height: int, width: int) -> nn.Module:
    """Loaded by timm, which renames tensors of older releases, and without its classifier.

    The classifier is taken off afterwards: asked to leave it out, timm would no longer insist
    that every other tensor is there.
    """
    import timm

    options: dict[str, Any] = {
        "pretrained": True,
        "pretrained_cfg_overlay": {"source": "file", "file": str(published.weights)},
    }
    source = f"{_LOCAL}:{published.folder}"
    try:
        try:
            # Transformers need to know the size of their input; convolutional networks refuse it.
            model = timm.create_model(source, img_size=(height, width), **options)
        except TypeError:
            model = timm.create_model(source, **options)
    except (RuntimeError, SafetensorError, OSError, KeyError, AssertionError) as error:
        raise WeightsError(
            f"{published.weights} does not fit {published.architecture} of {hub.CONFIG} beside "
            f"it ({str(error).splitlines()[0]}); download both again, or update timm"
        ) from error
    model.reset_classifier(0)
    return model


class MiewId(nn.Module):
    """MiewID's embedding (Otarashvili et al. 2024, arXiv 2412.05602; published weights msv2, msv3).

    EfficientNetV2 maps, generalised mean over positions with a learnt power, BatchNorm: 2152
    values.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()
        import timm

        self.backbone = timm.create_model(backbone, num_classes=0, global_pool="")
        self.power = nn.Parameter(torch.full((1,), 3.0))
        self.bn = nn.BatchNorm1d(self.backbone.num_features)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        maps_NCHW = self.backbone(images_NCHW).clamp_min(_GEM_MIN)
        return self.bn(maps_NCHW.pow(self.power).mean(dim=(2, 3)).pow(1.0 / self.power))


def _miewid_tensors(published: _Published) -> dict[str, Tensor]:
    """The tensors of a MiewID file under our names, its training head left out."""
    try:
        tensors = load_file(str(published.weights))
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{published.weights} cannot be read as safetensors ({error}); download it again"
        ) from error
    if "backbone.conv_stem.weight" not in tensors or "bn.running_mean" not in tensors:
        raise WeightsError(
            f"{published.folder / hub.CONFIG} names no architecture of timm, and "
            f"{published.weights.name} is not MiewID: only encoders made for timm, and MiewID, "
            "can be compared by name"
        )
    renamed = {"pooling.p": "power", "backbone.global_pool.p": "power"}
    return {
        renamed.get(key, key): value
        for key, value in tensors.items()
        if not key.startswith(("final.", "backbone.classifier."))
    }


def _fitted(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} looks like MiewID and does not fit its network "
            f"({' '.join(str(error).split())[:200]}); use the weights of miewid-msv2 or -msv3"
        ) from error
    return module
