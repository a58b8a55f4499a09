"""From a detector's outputs to candidate boxes: one function a layout.

Shapes: N candidates; boxes_N4 are left, top, right, bottom in pixels of the detector's input.
Sources of the layouts: the export code of YOLOv5, YOLOv8/v11 and RT-DETR (ultralytics), YOLOX
(Megvii, its ONNX demo), DETR (Carion et al. 2020) and the Hugging Face forms of DETR and RT-DETR.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.detection.detector_spec import DetectorSpec, Layout
from edge.errors import ModelError

Array = NDArray[np.float32]
_YOLOX_STRIDES = (8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    boxes_N4: Array
    confidence_N: Array
    class_N: NDArray[np.int64]


def read_outputs(outputs: Sequence[NDArray[Any]], spec: DetectorSpec) -> Candidates:
    """Raises ModelError, with the shapes seen, when they are not of the layout."""
    parts = [np.asarray(one, np.float32) for one in outputs]
    shapes = [one.shape for one in parts]
    if not fits(spec.layout, shapes, len(spec.classes), spec.height, spec.width):
        raise ModelError(_misfit(spec, shapes))
    return _READERS[spec.layout](parts, spec)


def fits(
    layout: Layout, shapes: Sequence[tuple[int, ...]], num_classes: int, height: int, width: int
) -> bool:
    """Whether outputs of these shapes can be of the layout."""
    first = shapes[0] if shapes else ()
    if layout in ("yolov5", "yolox"):
        right = len(first) == 3 and first[0] == 1 and first[2] == 5 + num_classes
        return right and (layout == "yolov5" or first[1] == _num_cells(height, width))
    if layout == "yolov8":
        return len(first) == 3 and first[:2] == (1, 4 + num_classes)
    if layout == "rtdetr":
        return len(first) == 3 and first[0] == 1 and first[2] == 4 + num_classes
    if layout in ("detr", "detr-sigmoid"):
        logits = _find(shapes, num_classes + (layout == "detr"))
        return logits is not None and _find(shapes, 4, other_than=logits) is not None
    if layout == "nms":
        return first[-1:] == (6,) and len(first) in (2, 3)
    return len(_parts_of(shapes)) == 3


def nearest(
    shapes: Sequence[tuple[int, ...]], num_classes: int, height: int, width: int
) -> list[Layout]:
    """Layouts that these shapes fit, the likeliest first."""
    order: tuple[Layout, ...] = (
        "nms", "yolox", "yolov8", "yolov5", "rtdetr", "detr", "detr-sigmoid", "nms-parts",
    )  # fmt: skip
    return [one for one in order if fits(one, shapes, num_classes, height, width)]


def _misfit(spec: DetectorSpec, shapes: Sequence[tuple[int, ...]]) -> str:
    shown = ", ".join(str(list(one)) for one in shapes)
    others = nearest(shapes, len(spec.classes), spec.height, spec.width)
    if others:
        advice = f"they would fit the layout {' or '.join(others)}"
    else:
        advice = (
            f"with {len(spec.classes)} classes they fit no layout: check that every class is "
            "named, in order, and the size of the input"
        )
    return f"the detector's outputs are {shown}, which is not the layout {spec.layout}: {advice}"


def _num_cells(height: int, width: int) -> int:
    return sum((height // stride) * (width // stride) for stride in _YOLOX_STRIDES)


def _find(
    shapes: Sequence[tuple[int, ...]], last: int, other_than: int | None = None
) -> int | None:
    """Position of the first output [1, Q, last]."""
    for at, one in enumerate(shapes):
        if len(one) == 3 and one[0] == 1 and one[2] == last and at != other_than:
            return at
    return None


def _parts_of(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """Positions of boxes and of the two outputs with a number a box: scores, then classes."""
    boxes = [at for at, one in enumerate(shapes) if one[-1:] == (4,) and len(one) in (2, 3)]
    if not boxes:
        return []
    rows = shapes[boxes[0]][:-1]
    numbers = [at for at, one in enumerate(shapes) if one in (rows, rows[-1:])]
    return [boxes[0], *numbers] if len(numbers) == 2 else []


def _corners(centre_size_N4: Array) -> Array:
    half_N2 = centre_size_N4[:, 2:] / 2
    corners = [centre_size_N4[:, :2] - half_N2, centre_size_N4[:, :2] + half_N2]
    return np.concatenate(corners, axis=1)


def _best(boxes_N4: Array, scores_NC: Array) -> Candidates:
    class_N = scores_NC.argmax(axis=1)
    confidence_N = np.take_along_axis(scores_NC, class_N[:, None], axis=1)[:, 0]
    return Candidates(boxes_N4=boxes_N4, confidence_N=confidence_N, class_N=class_N)


def _yolov5(outputs: list[Array], spec: DetectorSpec) -> Candidates:
    rows_NX = outputs[0][0]
    return _best(_corners(rows_NX[:, :4]), rows_NX[:, 4:5] * rows_NX[:, 5:])


def _yolov8(outputs: list[Array], spec: DetectorSpec) -> Candidates:
    rows_NX = outputs[0][0].T
    return _best(_corners(rows_NX[:, :4]), rows_NX[:, 4:])


def _yolox(outputs: list[Array], spec: DetectorSpec) -> Candidates:
    rows_NX = outputs[0][0]
    cells, strides = [], []
    for stride in _YOLOX_STRIDES:
        rows, columns = spec.height // stride, spec.width // stride
        y_N, x_N = np.divmod(np.arange(rows * columns), columns)
        cells.append(np.stack([x_N, y_N], axis=1))
        strides.append(np.full((rows * columns, 1), stride))
    stride_N1 = np.concatenate(strides).astype(np.float32)
    centre_N2 = (rows_NX[:, :2] + np.concatenate(cells)) * stride_N1
    size_N2 = np.exp(np.minimum(rows_NX[:, 2:4], 20.0)) * stride_N1
    boxes_N4 = _corners(np.concatenate([centre_N2, size_N2], axis=1).astype(np.float32))
    return _best(boxes_N4, rows_NX[:, 4:5] * rows_NX[:, 5:])


def _rtdetr(outputs: list[Array], spec: DetectorSpec) -> Candidates:
    rows_QX = outputs[0][0]
    return _best(_in_pixels(rows_QX[:, :4], spec), rows_QX[:, 4:])


def _detr(outputs: list[Array], spec: DetectorSpec) -> Candidates:
    boxes_Q4, logits_QC = _boxes_and_logits(outputs, len(spec.classes) + 1)
    shifted_QC = np.exp(logits_QC - logits_QC.max(axis=1, keepdims=True))
    scores_QC = shifted_QC / shifted_QC.sum(axis=1, keepdims=True)
    return _best(_in_pixels(boxes_Q4, spec), scores_QC[:, :-1])


def _detr_sigmoid(outputs: list[Array], spec: DetectorSpec) -> Candidates:
    boxes_Q4, logits_QC = _boxes_and_logits(outputs, len(spec.classes))
    scores_QC = 1 / (1 + np.exp(-np.clip(logits_QC, -60, 60)))
    return _best(_in_pixels(boxes_Q4, spec), scores_QC.astype(np.float32))


def _boxes_and_logits(outputs: list[Array], width_of_logits: int) -> tuple[Array, Array]:
    """With four columns of logits the first output is the logits, as both sources export."""
    shapes = [one.shape for one in outputs]
    logits = _find(shapes, width_of_logits)
    boxes = _find(shapes, 4, other_than=logits)
    assert logits is not None and boxes is not None
    return outputs[boxes][0], outputs[logits][0]


def _in_pixels(fractions_N4: Array, spec: DetectorSpec) -> Array:
    scale = np.array([spec.width, spec.height, spec.width, spec.height], np.float32)
    return _corners(fractions_N4 * scale)


def _nms(outputs: list[Array], spec: DetectorSpec) -> Candidates:
    rows_N6 = outputs[0].reshape(-1, 6)
    return Candidates(
        boxes_N4=rows_N6[:, :4], confidence_N=rows_N6[:, 4], class_N=_whole(rows_N6[:, 5])
    )


def _nms_parts(outputs: list[Array], spec: DetectorSpec) -> Candidates:
    boxes, *numbers = _parts_of([one.shape for one in outputs])
    scores, classes = (outputs[at].reshape(-1) for at in numbers)
    if (scores > 1).any() or (classes != np.round(classes)).any():
        scores, classes = classes, scores  # torchvision gives the classes first
    return Candidates(
        boxes_N4=outputs[boxes].reshape(-1, 4), confidence_N=scores, class_N=_whole(classes)
    )


def _whole(class_N: Array) -> NDArray[np.int64]:
    return np.round(class_N).astype(np.int64)


_READERS: dict[Layout, Callable[[list[Array], DetectorSpec], Candidates]] = {
    "yolov5": _yolov5,
    "yolov8": _yolov8,
    "yolox": _yolox,
    "rtdetr": _rtdetr,
    "detr": _detr,
    "detr-sigmoid": _detr_sigmoid,
    "nms": _nms,
    "nms-parts": _nms_parts,
}
