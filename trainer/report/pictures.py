"""Crops on the page: JPEG inside the page, frames that say right and wrong, rows of crops."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.report.markup import text

Frame = Literal["plain", "query", "right", "wrong"]
_LONGEST_SIDE = 160  # pixels; at most 300 crops of this size, of 15 kB where they are mere noise
_QUALITY = 78
_SIGNS: dict[Frame, str] = {"plain": "", "query": "", "right": "tick", "wrong": "cross"}

# Drawn, not typed: not every font has a tick.
SIGNS = """\
<svg class="definitions" aria-hidden="true" width="0" height="0"><defs>
<symbol id="tick" viewBox="0 0 20 20"><circle cx="10" cy="10" r="10" fill="#00714f"/>
<path d="M5 10.5l3.5 3.5L15 6.5" fill="none" stroke="#fff" stroke-width="2.6"/></symbol>
<symbol id="cross" viewBox="0 0 20 20"><rect width="20" height="20" rx="2" fill="#b3261e"/>
<path d="M5 5l10 10M15 5L5 15" fill="none" stroke="#fff" stroke-width="2.6"/></symbol>
</defs></svg>"""


def jpeg_address(image_HWC: NDArray[np.uint8], longest_side: int = _LONGEST_SIDE) -> str:
    """The RGB picture as a data: address, shrunk to at most `longest_side` pixels."""
    height, width = image_HWC.shape[:2]
    scale = longest_side / max(height, width)
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        image_HWC = np.asarray(cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)
    bgr_HWC = np.ascontiguousarray(image_HWC[:, :, ::-1])
    done, jpeg = cv2.imencode(".jpg", bgr_HWC, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")


def figure(
    image_HWC: NDArray[np.uint8],
    alt: str,
    caption: str,
    frame: Frame = "plain",
    longest_side: int = _LONGEST_SIDE,
) -> str:
    """A crop with its caption (markup); `alt` is plain text."""
    height, width = image_HWC.shape[:2]
    sign = _SIGNS[frame]
    shown_sign = f'<svg class="sign" aria-hidden="true"><use href="#{sign}"/></svg>' if sign else ""
    return (
        f'<figure class="crop {frame}"><div class="frame">'
        f'<img src="{jpeg_address(image_HWC, longest_side)}" alt="{text(alt)}" '
        f'width="{width}" height="{height}">{shown_sign}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def strip(label: str, figures: Sequence[str]) -> str:
    """Crops in one row, in a box of its own that scrolls where the page is narrow.

    `label` is plain text, for those who cannot see the row.
    """
    return (
        f'<div class="strip" tabindex="0" role="group" aria-label="{text(label)}">'
        f"{''.join(figures)}</div>"
    )
