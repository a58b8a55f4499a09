"""A detector in an ONNX file: where in a picture animals, people and vehicles are.

Any detector whose outputs have a layout of layouts.py, described by the JSON beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.compute.session import Opening, first_line, open_session
from edge.detect import Box, FoundObject
from edge.detection import layouts
from edge.detection.detector_graph import require_own_weights
from edge.detection.detector_spec import DetectorSpec, read_spec
from edge.detection.layouts import Candidates
from edge.errors import ModelError
from edge.preprocess import Image

_ENOUGH_SIDE = 1280  # pixels of a look beyond which twice the input's size is not worth its memory
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A picture at the size of the input, and where it lies there."""

    image_HWC: Image
    scale_x: float  # pixels of the input a pixel of the picture
    scale_y: float
    left: int
    top: int


class Detector:
    """An open detector file. `open_detector` is the way to get one."""

    def __init__(self, model_bytes: bytes, spec: DetectorSpec, num_threads: int | None) -> None:
        self.spec = spec
        self._session = open_graph(model_bytes, num_threads)
        self._inputs = self._session.get_inputs()
        _require_size(self._inputs[0], spec)

    def find(self, image_HWC: Image) -> list[FoundObject]:
        """What is in an upright RGB picture, surest first; empty for a blank.

        Raises ModelError when the outputs are not those of the layout.
        """
        placed = _place(image_HWC, self.spec)
        candidates = layouts.read_outputs(self._run(placed), self.spec)
        _require_classes(candidates, self.spec)
        height, width = image_HWC.shape[:2]
        found = []
        for at in _kept(candidates, self.spec):
            name = self.spec.classes[int(candidates.class_N[at])]
            box = _box(candidates.boxes_N4[at], placed, height, width)
            if box is not None:
                found.append(
                    FoundObject(
                        box=box,
                        observation_type=self.spec.types[name],
                        confidence=float(candidates.confidence_N[at]),
                    )
                )
        return found

    @property
    def look_side(self) -> int:
        """The longest side in pixels of a picture for `find`, where it has as many.

        Twice the input's size for small inputs: the detector's own shrinking is bilinear. At 832
        pixels yolox-nano (416) is as sure of elephants and herons as at 2048.
        """
        longest = max(self.spec.height, self.spec.width)
        return min(2 * longest, max(longest, _ENOUGH_SIDE))

    def _run(self, placed: _Placed) -> list[NDArray[Any]]:
        feed = {self._inputs[0].name: _tensor(placed.image_HWC, self.spec, self._inputs[0].type)}
        for extra in self._inputs[1:]:  # RT-DETR asks for the size its boxes shall be given in
            feed[extra.name] = np.array([[self.spec.width, self.spec.height]], np.int64)
        try:
            return list(self._session.run(None, feed))
        except Exception as error:  # onnxruntime raises classes of its own, with no common base
            raise ModelError(
                f"onnxruntime cannot run the detector ({first_line(error)}); check `input` in its "
                "JSON"
            ) from error


def open_detector(path: Path, num_threads: int | None = None) -> Detector:
    """The detector of an ONNX file and the JSON of the same name beside it.

    Raises ConfigError for the JSON, ModelError for the file.
    """
    model_bytes = read_file(path)
    spec = read_spec(spec_path(path))
    try:
        return Detector(model_bytes, spec, num_threads)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def open_tried_detector(path: Path, num_threads: int | None) -> Detector:
    """The same, tried on a grey picture before any real one is given to it."""
    opened = open_detector(path, num_threads)
    try:
        opened.find(np.full((opened.spec.height, opened.spec.width, 3), 128, np.uint8))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return opened


def spec_path(detector: Path) -> Path:
    return detector.with_suffix(".json")


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the detector {path}: {error.strerror}") from error


def open_graph(model_bytes: bytes, num_threads: int | None) -> Any:
    """An onnxruntime session; weights outside the file and foreign operators are refused."""
    require_own_weights(model_bytes)
    return open_session(model_bytes, Opening(num_threads=num_threads))


def _require_size(given: Any, spec: DetectorSpec) -> None:
    """The graph's own fixed sizes, where it has any, are those of the JSON."""
    wanted: list[int] = [1, 3, spec.height, spec.width]
    if spec.axes == "nhwc":
        wanted = [1, spec.height, spec.width, 3]
    shape = list(given.shape)
    fits = len(shape) == 4 and all(
        not isinstance(has, int) or has == wants for has, wants in zip(shape, wanted, strict=True)
    )
    if not fits or given.type not in _TYPES:
        raise ModelError(
            f"the detector takes {given.type} {shape}, its JSON says {wanted} ({spec.axes}): "
            "correct height, width and axes there"
        )


def _place(image_HWC: Image, spec: DetectorSpec) -> _Placed:
    height, width = image_HWC.shape[:2]
    if spec.resize == "stretch":
        inner_height, inner_width = spec.height, spec.width
    else:
        factor = min(spec.height / height, spec.width / width)
        inner_height = min(max(round(height * factor), 1), spec.height)
        inner_width = min(max(round(width * factor), 1), spec.width)
    centred = spec.resize == "letterbox"
    top = (spec.height - inner_height) // 2 if centred else 0
    left = (spec.width - inner_width) // 2 if centred else 0
    # Bilinear, as detectors are trained: shrunk by area, a heron is found a quarter as surely.
    inner_HWC = cv2.resize(
        np.ascontiguousarray(image_HWC),
        (inner_width, inner_height),
        interpolation=cv2.INTER_LINEAR,
    )
    canvas: Image = np.full((spec.height, spec.width, 3), spec.pad, np.uint8)
    canvas[top : top + inner_height, left : left + inner_width] = inner_HWC
    return _Placed(
        image_HWC=canvas,
        scale_x=inner_width / width,
        scale_y=inner_height / height,
        left=left,
        top=top,
    )


def _tensor(image_HWC: Image, spec: DetectorSpec, onnx_type: str) -> NDArray[Any]:
    pixels_HWC = image_HWC[..., ::-1] if spec.colours == "bgr" else image_HWC
    kind = _TYPES[onnx_type]
    if kind is not np.uint8:
        scaled = pixels_HWC.astype(np.float32) / np.float32(spec.divide_by)
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        pixels = ((scaled - mean) / std).astype(kind)
    else:
        pixels = pixels_HWC
    if spec.axes == "nchw":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None])


def _require_classes(candidates: Candidates, spec: DetectorSpec) -> None:
    sure = candidates.confidence_N >= spec.min_confidence
    highest = int(candidates.class_N[sure].max(initial=0))
    if highest >= len(spec.classes):
        raise ModelError(
            f"the detector found a class {highest}, its JSON names only {len(spec.classes)}: name "
            "every class there, in order"
        )


def _kept(candidates: Candidates, spec: DetectorSpec) -> list[int]:
    """Positions of the boxes that stay, surest first.

    Of two that overlap the weaker one goes, also where the detector is torn between two species:
    it is one animal.
    """
    type_of = {kind: number for number, kind in enumerate(sorted(set(spec.types.values())))}
    type_C = np.array([type_of[spec.types[n]] if n in spec.types else -1 for n in spec.classes])
    finite_N = np.isfinite(candidates.boxes_N4).all(axis=1)
    at_N = np.flatnonzero(finite_N & (candidates.confidence_N >= spec.min_confidence))
    at_N = at_N[type_C[candidates.class_N[at_N]] >= 0]
    if not len(at_N):
        return []
    corners_N4 = candidates.boxes_N4[at_N].astype(np.float64)
    boxes_N4 = np.concatenate([corners_N4[:, :2], corners_N4[:, 2:] - corners_N4[:, :2]], axis=1)
    confidence_N = candidates.confidence_N[at_N].astype(np.float64)
    kept = cv2.dnn.NMSBoxesBatched(
        boxes_N4.tolist(),
        confidence_N.tolist(),
        type_C[candidates.class_N[at_N]].tolist(),
        spec.min_confidence,
        spec.max_overlap,
    )
    positions = np.asarray(kept, np.int64).ravel()
    return [int(one) for one in at_N[positions[np.argsort(-confidence_N[positions])]]]


def _box(corners: NDArray[np.float32], placed: _Placed, height: int, width: int) -> Box | None:
    """In fractions of the picture, cut at its border; None where nothing of it is inside."""
    left, top, right, bottom = (float(one) for one in corners)
    x0 = min(max((left - placed.left) / placed.scale_x / width, 0.0), 1.0)
    y0 = min(max((top - placed.top) / placed.scale_y / height, 0.0), 1.0)
    x1 = min(max((right - placed.left) / placed.scale_x / width, 0.0), 1.0)
    y1 = min(max((bottom - placed.top) / placed.scale_y / height, 0.0), 1.0)
    if x1 <= x0 or y1 <= y0:
        return None
    return Box(x=x0, y=y0, width=x1 - x0, height=y1 - y0, relative=True)
