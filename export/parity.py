"""The check that the device's encoder gives what the trained one gives, on real crops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.encoder import Encoder as DeviceEncoder
from edge.errors import ModelError

BATCH_SIZES = (1, 7, 64)
MAX_CROPS = 256


@dataclass(frozen=True, kw_only=True)
class Parity:
    num_crops: int
    of: str  # what the crops are
    worst_cosine: dict[int, float]  # by batch size


def measure(
    device_encoder: DeviceEncoder,
    images_NHWC: NDArray[np.uint8],
    expected_ND: NDArray[np.float32],
    of: str,
) -> Parity:
    """Worst cosine between both encoders at each batch size."""
    worst = {}
    for size in BATCH_SIZES:
        parts = [
            device_encoder.embed(images_NHWC[start : start + size])
            for start in range(0, len(images_NHWC), size)
        ]
        worst[size] = float(np.sum(np.concatenate(parts) * expected_ND, axis=1).min())
    return Parity(num_crops=len(images_NHWC), of=of, worst_cosine=worst)


def require(parity: Parity, min_cosine: float) -> None:
    """Raises ModelError when any batch size falls short."""
    size, cosine = min(parity.worst_cosine.items(), key=lambda pair: pair[1])
    if cosine < min_cosine:
        raise ModelError(
            f"the exported model differs from the trained encoder: cosine {cosine:.6f} at batch "
            f"{size}, needs {min_cosine}; nothing was written. Please report this with the "
            "backbone's name and the versions of torch and onnxruntime"
        )
