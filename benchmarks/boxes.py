"""What the detection benchmarks share: how far two boxes agree."""

from __future__ import annotations

from edge.detect import Box


def iou(a: Box, b: Box) -> float:
    """Intersection over union, in [0, 1]."""
    wide = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    high = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    both = max(wide, 0.0) * max(high, 0.0)
    return both / (a.width * a.height + b.width * b.height - both)
