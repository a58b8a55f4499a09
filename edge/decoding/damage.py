"""Signs that a picture which decodes is not the picture that was taken.

A flipped bit in a JPEG rarely stops a decoder: it goes on with wrong colours, shifted blocks or
flat grey. Two signs are taken together: what libjpeg says while it decodes (free), and a step in
brightness or colour along the edges of coded blocks, beginning in mid row, as a wrong DC
difference leaves it (ITU-T T.81, F.1.2.1: every block's mean is coded relative to the last).
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.preprocess import Image

_MAX_MESSAGE_BYTES = 4096
_WARNING = re.compile(r"Corrupt JPEG data|Premature end|Invalid SOS|libpng (?:error|warning)")
_CLIP_ERROR = re.compile(r"(?i)error|invalid|corrupt|concealing|truncat|missing|overread")

_NUM_COLUMNS = 64  # a row of blocks is looked at in so many parts
_ROWS_AT_ONCE = 32  # as floats: they stay in the processor's cache
_NUM_STARTS = 16  # ... and a step may begin at the edge of each sixteenth
_MIN_BLOCK_ROWS = 6
_MIN_WIDTH = 48  # pixels at the scale decoded
_HINT = 0.6  # of that ratio over half a row: worth a closer look
_MIN_STEP = 1.5  # grey levels
_MIN_RATIO = 2.0  # of the step to its own scatter along the row
_QUIET = 0.5  # of the step: what may be seen where there should be none
_CAPTION = 0.025  # of the height, at the top: cameras write a line with a logo there
_MIN_TEXTURE = 0.3  # the coarser side's to the finer side's: a banner is flat, its picture not

_TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [0.5, -0.419, -0.081], [-0.169, -0.331, 0.5]], np.float32
)

_capturing = threading.Lock()


@contextmanager
def native_messages() -> Iterator[list[str]]:
    """What C libraries write to standard error meanwhile, in the list once the block is left.

    Takes the whole process's standard error, so one thread at a time.
    """
    lines: list[str] = []
    with _capturing:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)  # a flood of messages is dropped, and never waits
        kept = os.dup(2)
        os.dup2(writing, 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            for descriptor in (kept, writing):
                os.close(descriptor)
            try:
                lines += os.read(reading, _MAX_MESSAGE_BYTES).decode(errors="replace").splitlines()
            finally:
                os.close(reading)


def of_messages(lines: list[str]) -> str | None:
    """The first complaint of a decoder as a word and its text; None where it had none."""
    for line in lines:
        if _WARNING.search(line):
            return f"stream: {line.strip()[:120]}"
    return None


def of_clip_messages(lines: list[str]) -> str | None:
    """As `of_messages`, for what ffmpeg says of a clip."""
    for line in lines:
        if _CLIP_ERROR.search(line):
            return f"stream: {line.strip()[:120]}"
    return None


def of_blocks(stored_HWC: Image, scale: int, mcu_height: int) -> str | None:
    """Where a step between rows of blocks begins in mid row; None where none does.

    `stored_HWC` is RGB or BGR as stored (before any EXIF turn), decoded at 1/`scale`.
    """
    pitch = mcu_height // scale
    height, width = stored_HWC.shape[:2]
    if pitch < 2 or height < pitch * _MIN_BLOCK_ROWS or width < _MIN_WIDTH:
        return None
    columns_HKC = _columns(stored_HWC)
    ratio_R = _step_ratios(_look_at_rows(columns_HKC, pitch - 1, pitch))
    ratio_R[: int(len(ratio_R) * _CAPTION)] = 0
    worst = int(np.argmax(ratio_R))
    if ratio_R[worst] < _MIN_RATIO:
        return None
    # A scene with such steps elsewhere too (a fence, a banner) has them by nature.
    between = _step_ratios(_look_at_rows(columns_HKC, pitch - 1 + pitch // 2, pitch))
    if ratio_R[worst] < 1.2 * float(between.max()):
        return None
    return f"blocks: a step at pixel row {(worst + 1) * mcu_height}"


@dataclass(frozen=True, kw_only=True)
class _Edges:
    """What lies along the lines between rows, in columns; Y, Cr and Cb are looked at alike."""

    step_RCK: NDArray[np.float32]  # down across the line, less what goes on beside it
    flat_R: NDArray[np.bool_]  # one side lacks the other's texture


def _columns(image_HWC: Image) -> NDArray[np.float32]:
    """Every row's mean in each of a few columns: Y, Cr, Cb [height, columns, 3]."""
    height, width = image_HWC.shape[:2]
    small: cv2.typing.MatLike = image_HWC
    if width > 16 * _NUM_COLUMNS:  # in whole numbers first, which is several times faster
        small = cv2.resize(small, (8 * _NUM_COLUMNS, height), interpolation=cv2.INTER_AREA)
    return np.concatenate([_means(part) for part in _parts(np.asarray(small))], axis=1)


def _parts(image_HWC: Image) -> list[NDArray[np.uint8]]:
    """The picture cut into columns [height, columns, width of each, 3], the wider ones first."""
    height, width = image_HWC.shape[:2]
    num = min(_NUM_COLUMNS, width)
    narrow, num_wide = divmod(width, num)
    edge = num_wide * (narrow + 1)
    sides = (
        (image_HWC[:, :edge], narrow + 1, num_wide),
        (image_HWC[:, edge:], narrow, num - num_wide),
    )
    return [part.reshape(height, count, wide, 3) for part, wide, count in sides if count]


def _means(columns_HKWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of each column in each row, as Y, Cr, Cb: a product, twice as fast as resizing floats."""
    height, count, wide, _ = columns_HKWC.shape
    weights = np.tile(_TO_YCC.T / np.float32(wide), (wide, 1))
    means_HKC = np.empty((height, count, 3), np.float32)
    for top in range(0, height, _ROWS_AT_ONCE):
        rows = columns_HKWC[top : top + _ROWS_AT_ONCE]
        means_HKC[top : top + _ROWS_AT_ONCE] = (
            rows.reshape(len(rows) * count, wide * 3).astype(np.float32) @ weights
        ).reshape(len(rows), count, 3)
    return means_HKC


def _look_at_rows(columns_HKC: NDArray[np.float32], first: int, pitch: int) -> _Edges:
    """Along the lines below rows `first`, `first + pitch` and so on."""
    rows_R = np.arange(first, columns_HKC.shape[0] - 2, pitch)
    above2, above, below, below2 = (columns_HKC[rows_R + offset] for offset in (-1, 0, 1, 2))
    step_RKC = 1.5 * (below - above) - 0.5 * (below2 - above2)
    step_RCK = np.ascontiguousarray(step_RKC.transpose(0, 2, 1))
    textures = [_median(np.abs(np.diff(side[:, :, 0]))) for side in (above, below)]
    finer, coarser = np.maximum(*textures), np.minimum(*textures)
    return _Edges(step_RCK=step_RCK, flat_R=coarser + 0.25 < _MIN_TEXTURE * (finer + 0.25))


def _step_ratios(edges: _Edges) -> NDArray[np.float32]:
    """For each row of blocks the largest step in its own scatter, 0.0 where there is none.

    A step that begins at column k is seen above the row from k on, and below it up to k; above
    the row before k, and below it after k, there is none. A banner's edge is seen all along.
    """
    above_RCK, below_RCK = edges.step_RCK[:-1], edges.step_RCK[1:]
    ratio_R = np.zeros(max(len(above_RCK), 1), np.float32)
    if not len(above_RCK):
        return ratio_R
    half = above_RCK.shape[2] // 2
    hint_R = np.maximum(_ratio(above_RCK[..., half:]), _ratio(below_RCK[..., :half])).max(axis=1)
    (rows,) = np.nonzero((hint_R >= _HINT * _MIN_RATIO) & ~edges.flat_R[:-1])
    if len(rows):
        above_RCK, below_RCK = above_RCK[rows], below_RCK[rows]
        for number in range(1, _NUM_STARTS):
            start = above_RCK.shape[2] * number // _NUM_STARTS
            ratio_R[rows] = np.maximum(ratio_R[rows], _ratio_from(above_RCK, below_RCK, start))
    return ratio_R


def _ratio(step_RCK: NDArray[np.float32]) -> NDArray[np.float32]:
    step_RC = _median(step_RCK)
    scatter_RC = _median(np.abs(step_RCK - step_RC[..., None]))
    return np.asarray(np.abs(step_RC) / (scatter_RC + 1), np.float32)


def _ratio_from(
    above_RCK: NDArray[np.float32], below_RCK: NDArray[np.float32], start: int
) -> NDArray[np.float32]:
    """The ratio of a step that begins at column `start`, the largest of Y, Cr and Cb."""
    seen_RCK = np.concatenate([above_RCK[..., start:], below_RCK[..., :start]], axis=2)
    step_RC = _median(seen_RCK)
    size_RC = np.abs(step_RC)
    parts_RC = np.minimum(
        _median(above_RCK[..., start:]) * np.sign(step_RC),
        _median(below_RCK[..., :start]) * np.sign(step_RC),
    )
    beside_RC = np.maximum(
        np.abs(_median(above_RCK[..., :start])),
        np.abs(_median(below_RCK[..., start:])),
    )
    found_RC = size_RC >= _MIN_STEP
    found_RC &= (parts_RC >= _QUIET * size_RC) & (beside_RC <= _QUIET * size_RC)
    ratio_R: NDArray[np.float32] = np.where(found_RC, _ratio(seen_RCK), 0).max(axis=1)
    return ratio_R


def _median(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Along the last axis, as np.median gives it, in a fifth of its time for rows this short."""
    ordered = np.sort(values, axis=-1)
    middle = values.shape[-1] // 2
    if values.shape[-1] % 2:
        return np.asarray(ordered[..., middle])
    return np.asarray((ordered[..., middle - 1] + ordered[..., middle]) / 2, np.float32)
