"""What a detector file expects and gives, as the JSON beside it says.

The JSON is written by hand or by `edge-admin detector check`; nothing in it is guessed at run time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from edge.detect import ObservationType
from edge.errors import ConfigError
from edge.text import printable

# How boxes lie in the outputs; N candidates, C classes, Q queries. `docs/detectors.md` draws them.
Layout = Literal[
    "yolov5",  # [1, N, 5 + C]: centre, size in pixels of the input, objectness, classes
    "yolov8",  # [1, 4 + C, N]: centre, size in pixels, classes; also YOLOv9 and v11
    "yolox",  # [1, N, 5 + C]: as yolov5, but offsets from grid cells and logarithms of sizes
    "rtdetr",  # [1, Q, 4 + C]: centre, size as fractions, classes
    "detr",  # logits [1, Q, C + 1] and boxes [1, Q, 4] as fractions; softmax, the last is "nothing"
    "detr-sigmoid",  # logits [1, Q, C] and boxes [1, Q, 4] as fractions; each class by itself
    "nms",  # [1, N, 6]: left, top, right, bottom in pixels, confidence, class; already suppressed
    "nms-parts",  # boxes [1, N, 4] in pixels, scores [1, N], classes [1, N]; already suppressed
]
Colours = Literal["rgb", "bgr"]
Axes = Literal["nchw", "nhwc"]
Resize = Literal["letterbox", "letterbox-top-left", "stretch"]
_GROUPS: dict[str, ObservationType] = {
    "animals": "animal",
    "people": "human",
    "vehicles": "vehicle",
}


@dataclass(frozen=True, kw_only=True)
class DetectorSpec:
    layout: Layout
    height: int  # pixels of the input
    width: int
    colours: Colours
    axes: Axes
    divide_by: float  # pixel values 0 to 255 are divided by it
    mean: tuple[float, float, float]  # taken off after that, in the order of `colours`
    std: tuple[float, float, float]
    resize: Resize
    pad: int  # grey level beside a letterboxed picture, 0 to 255
    classes: tuple[str, ...]  # by index
    types: dict[str, ObservationType]  # of the classes that count; the others are left out
    min_confidence: float
    max_overlap: float  # of two boxes of one class; above it the weaker one goes


def read_spec(path: Path) -> DetectorSpec:
    """Raises ConfigError naming the key that is missing, unknown or wrong."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; a detector needs this JSON beside it, and "
            "`edge-admin detector check FILE.onnx --on PICTURE` writes one"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON ({error})") from error
    return _Reader(path).spec(content)


def to_json(spec: DetectorSpec) -> str:
    groups = {
        group: [name for name in spec.classes if spec.types.get(name) == kind]
        for group, kind in _GROUPS.items()
    }
    content = {
        "layout": spec.layout,
        "input": {
            "height": spec.height,
            "width": spec.width,
            "colours": spec.colours,
            "axes": spec.axes,
            "divide_by": spec.divide_by,
            "mean": list(spec.mean),
            "std": list(spec.std),
            "resize": spec.resize,
            "pad": spec.pad,
        },
        "classes": list(spec.classes),
        **groups,
        "min_confidence": spec.min_confidence,
        "max_overlap": spec.max_overlap,
    }
    return json.dumps(content, indent=2) + "\n"


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path

    def spec(self, content: Any) -> DetectorSpec:
        top = self._keys(
            content,
            "the file",
            {"layout", "input", "classes", *_GROUPS, "min_confidence", "max_overlap"},
        )
        size = self._keys(
            top["input"],
            "input",
            {"height", "width", "colours", "axes", "divide_by", "mean", "std", "resize", "pad"},
        )
        classes = self._names(top, "classes")
        return DetectorSpec(
            layout=self._choice(top, "layout", Layout),
            height=int(self._number(size, "height", 16, 8192)),
            width=int(self._number(size, "width", 16, 8192)),
            colours=self._choice(size, "colours", Colours),
            axes=self._choice(size, "axes", Axes),
            divide_by=self._number(size, "divide_by", 1e-6, 1e6),
            mean=self._three(size, "mean"),
            std=self._three(size, "std"),
            resize=self._choice(size, "resize", Resize),
            pad=int(self._number(size, "pad", 0, 255)),
            classes=classes,
            types=self._types(top, classes),
            min_confidence=self._number(top, "min_confidence", 0, 1),
            max_overlap=self._number(top, "max_overlap", 0, 1),
        )

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(
            f"{self._path}: {what}; `edge-admin detector check FILE.onnx --on PICTURE` writes one "
            "to start from"
        )

    def _keys(self, content: Any, where: str, wanted: set[str]) -> dict[str, Any]:
        if not isinstance(content, dict):
            raise self._wrong(f"{where} must be a JSON object")
        missing, unknown = sorted(wanted - content.keys()), sorted(content.keys() - wanted)
        if missing:
            raise self._wrong(f"{where} lacks {', '.join(missing)}")
        if unknown:
            raise self._wrong(f"{where} has the unknown key {printable(', '.join(unknown))}")
        return content

    def _choice(self, content: dict[str, Any], key: str, choices: Any) -> Any:
        allowed = get_args(choices)
        if content[key] not in allowed:
            raise self._wrong(
                f"{key} is {printable(repr(content[key]))}, it must be one of {', '.join(allowed)}"
            )
        return content[key]

    def _number(self, content: dict[str, Any], key: str, lowest: float, highest: float) -> float:
        value = content[key]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not lowest <= value <= highest:
            raise self._wrong(
                f"{key} is {printable(repr(value))}, it must be a number from {lowest:g} to "
                f"{highest:g}"
            )
        return float(value)

    def _three(self, content: dict[str, Any], key: str) -> tuple[float, float, float]:
        value = content[key]
        fits = isinstance(value, list) and len(value) == 3
        if not fits or not all(isinstance(one, (int, float)) for one in value):
            raise self._wrong(f"{key} is {printable(repr(value))}, it must be three numbers")
        if key == "std" and not all(one > 0 for one in value):
            raise self._wrong("std must be greater than 0")
        red, green, blue = (float(one) for one in value)
        return red, green, blue

    def _names(self, content: dict[str, Any], key: str) -> tuple[str, ...]:
        value = content[key]
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._wrong(f"{key} must be a list of names")
        if len(set(value)) != len(value):
            raise self._wrong(f"{key} names a class twice")
        return tuple(value)

    def _types(
        self, content: dict[str, Any], classes: tuple[str, ...]
    ) -> dict[str, ObservationType]:
        if not classes:
            raise self._wrong("classes is empty: give the name of each class, in order")
        types: dict[str, ObservationType] = {}
        for group, kind in _GROUPS.items():
            for name in self._names(content, group):
                if name not in classes:
                    raise self._wrong(
                        f"{group} names {printable(name)}, which is not in classes "
                        f"({printable(', '.join(classes[:8]))} ...)"
                    )
                if name in types:
                    raise self._wrong(f"{printable(name)} is in two of {', '.join(_GROUPS)}")
                types[name] = kind
        if not types:
            raise self._wrong("no class counts: name some under animals, people or vehicles")
        return types
