"""Backbones by name, with their weights: ResNet-50 of torchvision, any timm model, a small CNN.

A backbone turns normalised pictures into one vector each. Weights come by name (downloaded once
by torchvision or timm), from a safetensors file, or, said aloud, not at all. What does not fit is
an error: nothing is ever left at random in silence.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from edge.errors import InputError, WeightsError
from trainer.resnet import PooledResnet, Pooling

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL_CNN = "small-cnn"
RESNET50 = "resnet50"
NO_WEIGHTS, IMAGENET = "none", "imagenet"
_CLIP = "open_clip:"
_GEM = "pool.power"
_CLASSIFIERS = ("fc.", "classifier.", "head.fc.", "head.weight", "head.bias")


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """All that is needed to build a backbone again, without its weights."""

    name: str
    height: int  # of its input, in pixels
    width: int
    mean: tuple[float, float, float]  # of RGB in [0, 1]
    std: tuple[float, float, float]
    last_stride: Literal[1, 2]  # of ResNet-50's layer4; 1 in the base code of the paper
    pooling: Pooling  # of ResNet-50; timm's models pool as they are
    pad_type: str  # timm's padding of convolutions; "" is the model's own
    bn_eps: float | None  # None is the model's own
    described: str | None  # JSON of a CLIP model that open_clip does not know by name


@dataclass(frozen=True, kw_only=True)
class LoadedBackbone:
    spec: BackboneSpec
    module: nn.Module
    weights: str  # "none", "imagenet" or the file's name
    sha256: str | None  # of the file


class SmallCnn(nn.Module):
    """A small CNN (1 M parameters) for small crops (64x96) and random starts, 256 values out.

    It pools to a 2x3 grid instead of a point: where on the body a blotch sits is what tells
    animals of one species apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.stages = nn.Sequential(
            _conv(32, 64, stride=2),
            _conv(64, 128),
            nn.MaxPool2d(2),
            _conv(128, 128),
            _conv(128, 192),
            nn.MaxPool2d(2),
            _conv(192, 192),
        )
        self.project = nn.Linear(192 * 2 * 3, 256)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        maps = self.stages(torch.relu(self.bn1(self.conv1(images_NCHW))))
        height, width = maps.shape[-2:]
        if height % 2 or width % 3:
            raise InputError(
                "small-cnn pools to a 2 x 3 grid: give --size with a height that is a multiple "
                "of 32 and a width that is a multiple of 48, for example 64x96"
            )
        grid = nn.functional.avg_pool2d(maps, (height // 2, width // 3))
        return self.project(grid.flatten(1))


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def load_backbone(
    name: str,
    weights: str | None,
    height: int,
    width: int,
    last_stride: Literal[1, 2] = 1,
    pooling: Pooling = "average",
) -> LoadedBackbone:
    """A backbone for input of that size; `weights` is "imagenet", "none", a file or None (default).

    The default is "imagenet", but "none" for small-cnn, which has no published weights.
    """
    if name != RESNET50 and (last_stride, pooling) != (1, "average"):
        raise InputError(f"--last-stride and --pooling are for resnet50; {name} has its own")
    if name.startswith(_CLIP):
        from trainer.clip.image import load_image_tower

        return load_image_tower(name, weights, height, width)
    wanted = _default_spec(name, height, width, last_stride, pooling)
    chosen = weights or (NO_WEIGHTS if name == SMALL_CNN else IMAGENET)
    if chosen in (NO_WEIGHTS, IMAGENET):
        module = build_backbone(wanted) if chosen == NO_WEIGHTS else _download(wanted)
        return LoadedBackbone(spec=wanted, module=module, weights=chosen, sha256=None)
    return _load_file(wanted, Path(chosen))


def build_backbone(spec: BackboneSpec) -> nn.Module:
    """The architecture with random weights."""
    if spec.name == SMALL_CNN:
        return SmallCnn()
    if spec.name == RESNET50:
        import torchvision

        return PooledResnet(
            torchvision.models.resnet50(weights=None), spec.last_stride, spec.pooling
        )
    if spec.name.startswith(_CLIP):
        from trainer.clip.image import build_image_tower

        return build_image_tower(spec)
    return _create_timm(spec, pretrained=False)


def build_timm(spec: BackboneSpec, name: str) -> nn.Module:
    """The timm model `name` with random weights, padded and normalised as `spec` says."""
    return _create_timm(dataclasses.replace(spec, name=name), pretrained=False)


def timm_spec(name: str, height: int, width: int) -> BackboneSpec:
    """What timm itself says of its model `name`."""
    return _default_spec(name, height, width, 1, "average")


def output_width(backbone: nn.Module, spec: BackboneSpec) -> int:
    """How many values the backbone gives a picture, found by giving it one.

    Raises InputError where it does not take pictures of that size.
    """
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            values = backbone(torch.zeros(1, 3, spec.height, spec.width))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"{spec.name} does not take pictures of {spec.height}x{spec.width} pixels "
            f"({str(error).splitlines()[0]}); give another --size HxW"
        ) from error
    finally:
        backbone.train(was_training)
    return int(values.shape[1])


def stem_of(backbone: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d | None]:
    """The first convolution, which acts on the picture itself, and the BN behind it if any."""
    layers = [one for one in backbone.modules() if isinstance(one, nn.Conv2d | nn.BatchNorm2d)]
    conv = next(one for one in layers if isinstance(one, nn.Conv2d))
    behind = layers[layers.index(conv) + 1 : layers.index(conv) + 2]
    norm = behind[0] if behind else None
    return conv, norm if isinstance(norm, nn.BatchNorm2d) else None


def _default_spec(
    name: str, height: int, width: int, last_stride: Literal[1, 2], pooling: Pooling
) -> BackboneSpec:
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if name not in (SMALL_CNN, RESNET50):
        import timm

        if not timm.is_model(name):
            close = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:5])
            raise InputError(
                f"no backbone is named '{name}'; use resnet50, small-cnn or a timm name"
                + (f" (for example {close})" if close else "")
            )
        config = timm.get_pretrained_cfg(name)
        mean, std = (config.mean, config.std) if config else (mean, std)
    return BackboneSpec(
        name=name,
        height=height,
        width=width,
        mean=mean,
        std=std,
        last_stride=last_stride,
        pooling=pooling,
        pad_type="",
        bn_eps=None,
        described=None,
    )


def _create_timm(spec: BackboneSpec, pretrained: bool) -> nn.Module:
    import timm

    options: dict[str, object] = {}
    if spec.pad_type:
        options["pad_type"] = spec.pad_type
    if spec.bn_eps is not None:
        options["bn_eps"] = spec.bn_eps
    options |= {"pretrained": pretrained, "num_classes": 0}
    try:
        # Transformers need to know the size of their input; convolutional networks refuse it.
        return timm.create_model(spec.name, img_size=(spec.height, spec.width), **options)
    except TypeError:
        return timm.create_model(spec.name, **options)


def _download(spec: BackboneSpec) -> nn.Module:
    if spec.name == SMALL_CNN:
        raise WeightsError("small-cnn has no published weights; give --weights none or a file")
    try:
        if spec.name == RESNET50:
            import torchvision

            resnet = torchvision.models.resnet50(
                weights=torchvision.models.ResNet50_Weights.IMAGENET1K_V1
            )
            return PooledResnet(resnet, spec.last_stride, spec.pooling)
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # one line a retry
        return _create_timm(spec, pretrained=True)
    except (OSError, RuntimeError) as error:  # urllib's, huggingface_hub's and hash errors
        raise WeightsError(
            f"cannot get the ImageNet weights of {spec.name} ({str(error).splitlines()[0]}). "
            "Without internet, bring a safetensors file and give --weights FILE, or start from "
            "random weights with --weights none"
        ) from error


def _load_file(default: BackboneSpec, path: Path) -> LoadedBackbone:
    if not path.is_file():
        raise WeightsError(
            f"there is no weights file {path}; give --weights with a .safetensors file, "
            "'imagenet' to download, or 'none' for a random start"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        with safe_open(str(path), "pt") as file:
            facts = file.metadata() or {}
        tensors = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} cannot be read as safetensors ({error}); convert the weights with "
            "safetensors.torch.save_file"
        ) from error
    spec = _spec_from_file(default, path, facts)
    module = build_backbone(spec)
    if spec.pooling == "gem":
        tensors.setdefault(_GEM, module.state_dict()[_GEM])  # no classifier has one
    _fill(module, tensors, f"{path.name} and the backbone {spec.name}")
    return LoadedBackbone(spec=spec, module=module, weights=path.name, sha256=digest)


def _spec_from_file(default: BackboneSpec, path: Path, facts: dict[str, str]) -> BackboneSpec:
    """A weights file may say in its metadata how its pictures were normalised and padded."""
    made_for = facts.get("timm", default.name)
    if made_for != default.name:
        raise WeightsError(
            f"{path} holds weights of {made_for}, not of {default.name}: use --backbone {made_for}"
        )
    return dataclasses.replace(
        default,
        mean=_triple(facts["mean"], path) if "mean" in facts else default.mean,
        std=_triple(facts["std"], path) if "std" in facts else default.std,
        pad_type=facts.get("pad_type", default.pad_type),
        bn_eps=float(facts["bn_eps"]) if "bn_eps" in facts else default.bn_eps,
    )


def _triple(text: str, path: Path) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(value) for value in text.split(","))
    except ValueError as error:
        raise WeightsError(f"{path}: '{text}' in its metadata is not three numbers") from error
    return red, green, blue


def _fill(module: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    """Loads every tensor; a classifier that the backbone does not have may be left over."""
    wanted = module.state_dict()
    missing = sorted(key for key in wanted if key not in tensors)
    surplus = sorted(
        key for key in tensors if key not in wanted and not key.startswith(_CLASSIFIERS)
    )
    shapes = sorted(
        key for key in wanted if key in tensors and tensors[key].shape != wanted[key].shape
    )
    if missing or surplus or shapes:
        parts = [
            f"{len(keys)} {kind} (first: {keys[0]})"
            for kind, keys in (
                ("missing", missing),
                ("unknown", surplus),
                ("of other shape", shapes),
            )
            if keys
        ]
        raise WeightsError(
            f"{what} do not fit: tensors {', '.join(parts)}; check --backbone and --weights"
        )
    module.load_state_dict({key: tensors[key] for key in wanted})
