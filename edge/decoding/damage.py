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

import numpy as np
from numpy.typing import NDArray

from edge.preprocess import Image

_MAX_MESSAGE_BYTES = 4096
_WARNING = re.compile(r"Corrupt JPEG data|Premature end|Invalid SOS|libpng (?:error|warning)")
_CLIP_ERROR = re.compile(r"(?i)error|invalid|corrupt|concealing|truncat|missing|overread")

_NUM_COLUMNS = 64  # a row of blocks is looked at in so many parts
_PIXELS_AT_ONCE = 1 << 15  # as floats: they stay in the processor's cache
_NUM_STARTS = 16  # ... and a step may begin at the edge of each sixteenth
_MIN_BLOCK_ROWS = 6
_MIN_WIDTH = 48  # pixels at the scale decoded
_HINT = 0.6  # of that ratio over half a row: worth a closer look
_MIN_STEP = 1.5  # grey levels
_MIN_RATIO = 2.0  # of the step to its own scatter along the row
_BEYOND = 1.2  # times the largest such ratio where no edge of blocks is
_CLOSE_AT_ONCE = 64  # rows looked at closely: 4 MB
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
    ratio_R = _step_ratios(_look_at_rows(stored_HWC, pitch - 1, pitch))
    ratio_R[: int(len(ratio_R) * _CAPTION)] = 0
    worst = int(np.argmax(ratio_R))
    if ratio_R[worst] < _MIN_RATIO:
        return None
    # A scene with such steps elsewhere too (a fence, a banner) has them by nature.
    between = _step_ratios(_look_at_rows(stored_HWC, pitch - 1 + pitch // 2, pitch))
    if ratio_R[worst] < _BEYOND * float(between.max()):
        return None
    return f"blocks: a step at pixel row {(worst + 1) * mcu_height}"


@dataclass(frozen=True, kw_only=True)
class _Edges:
    """What lies along the lines between rows, in columns; Y, Cr and Cb are looked at alike."""

    step_RCK: NDArray[np.float32]  # down across the line, less what goes on beside it
    flat_R: NDArray[np.bool_]  # one side lacks the other's texture


def _look_at_rows(image_HWC: Image, first: int, pitch: int) -> _Edges:
    """Along the lines below rows `first`, `first + pitch` and so on: two rows on either side."""
    num_lines = len(range(first, image_HWC.shape[0] - 2, pitch))
    above2, above, below, below2 = (
        _columns(image_HWC[first + offset :: pitch][:num_lines]) for offset in (-1, 0, 1, 2)
    )
    step_RKC = 1.5 * (below - above) - 0.5 * (below2 - above2)
    step_RCK = np.ascontiguousarray(step_RKC.transpose(0, 2, 1))
    textures = [_median(np.abs(np.diff(side[:, :, 0]))) for side in (above, below)]
    finer, coarser = np.maximum(*textures), np.minimum(*textures)
    return _Edges(step_RCK=step_RCK, flat_R=coarser + 0.25 < _MIN_TEXTURE * (finer + 0.25))


def _columns(row_RWC: Image) -> NDArray[np.float32]:
    """Every row's mean in each of a few columns: Y, Cr, Cb [rows, columns, 3]."""
    num_rows, width = row_RWC.shape[:2]
    count = min(_NUM_COLUMNS, width)
    narrow, num_wide = divmod(width, count)
    edge = num_wide * (narrow + 1)  # the wider columns come first
    means_RKC = np.empty((num_rows, count, 3), np.float32)
    if num_wide:
        _put_means(row_RWC[:, :edge], means_RKC[:, :num_wide])
    _put_means(row_RWC[:, edge:], means_RKC[:, num_wide:])
    return means_RKC


def _put_means(row_RWC: Image, out_RKC: NDArray[np.float32]) -> None:
    """Of each column in each row, by a product: three times as fast as area averaging."""
    num_rows, count, _ = out_RKC.shape
    width = row_RWC.shape[1] // count
    weights = np.tile(_TO_YCC.T / np.float32(width), (width, 1))
    num_at_once = max(_PIXELS_AT_ONCE // row_RWC.shape[1], 1)
    floats = np.empty((num_at_once, *row_RWC.shape[1:]), np.float32)
    for top in range(0, num_rows, num_at_once):
        rows = floats[: num_rows - top]
        np.copyto(rows, row_RWC[top : top + len(rows)])
        means = rows.reshape(-1, 3 * width) @ weights
        out_RKC[top : top + len(rows)] = means.reshape(len(rows), count, 3)


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
    for first in range(0, len(rows), _CLOSE_AT_ONCE):
        some = rows[first : first + _CLOSE_AT_ONCE]
        ratio_R[some] = _ratios_from(above_RCK[some], below_RCK[some])
    return ratio_R


def _ratio(step_RCK: NDArray[np.float32]) -> NDArray[np.float32]:
    step_RC = _median(step_RCK)
    scatter_RC = _median(np.abs(step_RCK - step_RC[..., None]))
    return np.asarray(np.abs(step_RC) / (scatter_RC + 1), np.float32)


def _ratios_from(
    above_RCK: NDArray[np.float32], below_RCK: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The largest ratio of a step that begins at any column, of Y, Cr and Cb.

    0.0 also for what is so small that nothing depends on it.
    """
    num_columns = above_RCK.shape[2]
    starts_S = num_columns * np.arange(1, _NUM_STARTS) // _NUM_STARTS
    after_SK = np.arange(num_columns) >= starts_S[:, None]
    seen_SRCK = np.where(after_SK[:, None, None], above_RCK, below_RCK)
    step_SRC, ratio_SRC = _median(seen_SRCK), _ratio(seen_SRCK)
    is_large_SRC = (np.abs(step_SRC) >= _MIN_STEP) & (ratio_SRC >= _MIN_RATIO / _BEYOND)
    start_P, row_P, channel_P = np.nonzero(is_large_SRC)
    above_PK, below_PK = above_RCK[row_P, channel_P], below_RCK[row_P, channel_P]
    after_PK, step_P = after_SK[start_P], step_SRC[is_large_SRC]
    parts_P = np.minimum(
        _median_of(above_PK, after_PK) * np.sign(step_P),
        _median_of(below_PK, ~after_PK) * np.sign(step_P),
    )
    beside_P = np.maximum(
        np.abs(_median_of(above_PK, ~after_PK)), np.abs(_median_of(below_PK, after_PK))
    )
    quiet_P = _QUIET * np.abs(step_P)
    found_P = (parts_P >= quiet_P) & (beside_P <= quiet_P)
    ratio_R = np.zeros(len(above_RCK), np.float32)
    np.maximum.at(ratio_R, row_P[found_P], ratio_SRC[is_large_SRC][found_P])
    return ratio_R


def _median_of(values_PK: NDArray[np.float32], chosen_PK: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Of the chosen values of each row, of which there is at least one."""
    ordered_PK = np.sort(np.where(chosen_PK, values_PK, np.inf), axis=1)
    count_P1 = chosen_PK.sum(axis=1, keepdims=True)
    lower_P1 = np.take_along_axis(ordered_PK, (count_P1 - 1) // 2, axis=1)
    upper_P1 = np.take_along_axis(ordered_PK, count_P1 // 2, axis=1)
    return np.asarray((lower_P1 + upper_P1)[:, 0] / 2, np.float32)


def _median(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Along the last axis, as np.median gives it, in a fifth of its time for rows this short."""
    ordered = np.sort(values, axis=-1)
    middle = values.shape[-1] // 2
    if values.shape[-1] % 2:
        return np.asarray(ordered[..., middle])
    return np.asarray((ordered[..., middle - 1] + ordered[..., middle]) / 2, np.float32)
