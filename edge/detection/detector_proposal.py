"""A first description of a detector nobody has described yet, from what its file tells.

Shapes, types and, where the exporter left them (ultralytics does), class names are facts; the
rest is the habit of the layout's family and is to be checked on a picture.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.detect import ObservationType
from edge.detection import layouts
from edge.detection.detector import open_graph
from edge.detection.detector_spec import Axes, DetectorSpec, Layout
from edge.errors import ModelError

_USUAL_SIDE = 640  # where the graph leaves its size open; YOLO's and MegaDetector v6's habit
# The 80 classes of COCO in their order; detectors that were not trained for animals know these.
_COCO = (
    "person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|"
    "stop sign|parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|"
    "backpack|umbrella|handbag|tie|suitcase|frisbee|skis|snowboard|sports ball|kite|baseball bat|"
    "baseball glove|skateboard|surfboard|tennis racket|bottle|wine glass|cup|fork|knife|spoon|"
    "bowl|banana|apple|sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|"
    "potted plant|bed|dining table|toilet|tv|laptop|mouse|remote|keyboard|cell phone|microwave|"
    "oven|toaster|sink|refrigerator|book|clock|vase|scissors|teddy bear|hair drier|toothbrush"
).split("|")
_PEOPLE = frozenset({"person", "human", "people"})
_VEHICLES = frozenset(
    {"vehicle", "bicycle", "car", "motorcycle", "bus", "train", "truck", "boat", "airplane"}
)
_COCO_ANIMALS = frozenset(_COCO[14:24])


@dataclass(frozen=True, kw_only=True)
class Proposal:
    spec: DetectorSpec
    shapes: tuple[tuple[int, ...], ...]  # of the outputs
    doubts: tuple[str, ...]  # what to check, a sentence each


def propose(model_bytes: bytes) -> Proposal:
    """Raises ModelError where no layout fits, with the shapes seen."""
    session = open_graph(model_bytes, None)
    given = session.get_inputs()[0]
    axes, height, width = _size(given)
    doubts: list[str] = []
    if not all(isinstance(one, int) for one in given.shape[1:]):
        doubts.append(f"the graph leaves its size open; {height} x {width} is a habit")
    shapes = _run_blank(session, axes, height, width)
    names = _stored_names(session)
    layout, num_classes = _layout(shapes, names, height, width)
    others = [one for one in layouts.nearest(shapes, num_classes, height, width) if one != layout]
    if others:
        doubts.append(f"the outputs would also fit the layout {' or '.join(others)}")
    if names is None:
        names, doubt = _guess_names(num_classes, layout)
        doubts.append(doubt)
    return Proposal(
        spec=_spec(layout, axes, height, width, names), shapes=tuple(shapes), doubts=tuple(doubts)
    )


def _size(given: Any) -> tuple[Axes, int, int]:
    shape = list(given.shape)
    if len(shape) != 4:
        raise ModelError(f"the graph takes {shape}; a detector takes one picture of 4 axes")
    axes: Axes = "nhwc" if shape[3] == 3 and shape[1] != 3 else "nchw"
    height, width = (shape[1], shape[2]) if axes == "nhwc" else (shape[2], shape[3])
    sides = [one if isinstance(one, int) and one > 0 else _USUAL_SIDE for one in (height, width)]
    return axes, sides[0], sides[1]


def _run_blank(session: Any, axes: Axes, height: int, width: int) -> list[tuple[int, ...]]:
    first, *extra = session.get_inputs()
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
    if first.type not in kinds:
        raise ModelError(f"the graph takes {first.type}; float, float16 and uint8 can be given")
    shape = (1, 3, height, width) if axes == "nchw" else (1, height, width, 3)
    feed = {first.name: np.zeros(shape, kinds[first.type])}
    feed |= {one.name: np.array([[width, height]], np.int64) for one in extra}
    try:
        return [np.asarray(one).shape for one in session.run(None, feed)]
    except Exception as error:  # onnxruntime raises classes of its own, with no common base
        raise ModelError(f"onnxruntime cannot run the detector: {error}") from error


def _stored_names(session: Any) -> tuple[str, ...] | None:
    """Class names as ultralytics stores them: a Python dictionary as text."""
    stored = session.get_modelmeta().custom_metadata_map.get("names")
    if stored is None:
        return None
    try:
        content = ast.literal_eval(stored)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(content, dict) and sorted(content) == list(range(len(content))):
        content = [content[number] for number in range(len(content))]
    fits = isinstance(content, list) and content and all(isinstance(one, str) for one in content)
    return tuple(content) if fits and len(set(content)) == len(content) else None


def _layout(
    shapes: Sequence[tuple[int, ...]], names: tuple[str, ...] | None, height: int, width: int
) -> tuple[Layout, int]:
    counts = [len(names)] if names else _possible_counts(shapes)
    for num_classes in counts:
        fitting = layouts.nearest(shapes, num_classes, height, width)
        if fitting:
            return fitting[0], num_classes
    shown = ", ".join(str(list(one)) for one in shapes)
    raise ModelError(
        f"its outputs are {shown}, which fits no layout known here"
        + (f" with its {len(names)} classes" if names else "")
        + "; docs/detectors.md lists them. Export it with suppression inside, which gives [1, N, 6]"
    )


def _possible_counts(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """COCO's and MegaDetector's numbers of classes first, then whatever the shapes leave over."""
    widths = {size for shape in shapes if len(shape) == 3 for size in shape[1:]}
    left_over = sorted({size - taken for size in widths for taken in (5, 4, 1, 0)} - {0})
    return [80, 3, *(one for one in left_over if 0 < one <= 2000)]


def _guess_names(num_classes: int, layout: Layout) -> tuple[tuple[str, ...], str]:
    if num_classes == len(_COCO):
        return tuple(_COCO), "the file names no classes; 80 are usually those of COCO"
    if num_classes == 3:
        return (
            ("animal", "person", "vehicle"),
            "the file names no classes; 3 are usually MegaDetector's animal, person, vehicle",
        )
    names = tuple(f"class {number}" for number in range(num_classes))
    return names, f"the file names no classes: write the names of its {num_classes} into the JSON"


def _spec(
    layout: Layout, axes: Axes, height: int, width: int, names: tuple[str, ...]
) -> DetectorSpec:
    of_yolox, of_detr = layout == "yolox", layout in ("detr", "detr-sigmoid")
    return DetectorSpec(
        layout=layout,
        height=height,
        width=width,
        colours="bgr" if of_yolox else "rgb",
        axes=axes,
        divide_by=1.0 if of_yolox else 255.0,
        mean=(0.485, 0.456, 0.406) if layout == "detr" else (0.0, 0.0, 0.0),
        std=(0.229, 0.224, 0.225) if layout == "detr" else (1.0, 1.0, 1.0),
        resize="letterbox-top-left" if of_yolox else "stretch" if of_detr else "letterbox",
        pad=114,
        classes=names,
        types=_types(names),
        min_confidence=0.2,
        max_overlap=0.45,
    )


def _types(names: tuple[str, ...]) -> dict[str, ObservationType]:
    """People and vehicles by their names; of COCO only its animals, of others all the rest."""
    types: dict[str, ObservationType] = {}
    for name in names:
        if name.lower() in _PEOPLE:
            types[name] = "human"
        elif name.lower() in _VEHICLES:
            types[name] = "vehicle"
        elif list(names) != _COCO or name in _COCO_ANIMALS:
            types[name] = "animal"
    return types
