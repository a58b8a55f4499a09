"""Crops where training reads them: as uint8 on the training device, if they fit there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BATCH = 128
_SHARE_OF_FREE_MEMORY = 0.4  # of a GPU; the rest is for activations


class Pixels:
    """Reads batches of crops [B, H, W, 3], uint8, on the training device.

    A GPU keeps all crops in its memory where they take at most two fifths of what is free there;
    else batches are copied from the host as they are asked for.
    """

    def __init__(self, images_NHWC: NDArray[np.uint8], device: torch.device) -> None:
        self.device = device
        self._host_NHWC = images_NHWC
        self._resident: Tensor | None = None
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if images_NHWC.nbytes <= _SHARE_OF_FREE_MEMORY * free:
                self._resident = torch.from_numpy(np.ascontiguousarray(images_NHWC)).to(device)

    def __len__(self) -> int:
        return len(self._host_NHWC)

    def rows(self, rows_B: NDArray[np.int64]) -> Tensor:
        """The crops at these rows."""
        if self._resident is not None:
            index_B = torch.from_numpy(rows_B).pin_memory().to(self.device, non_blocking=True)
            return self._resident[index_B]
        batch = torch.from_numpy(np.ascontiguousarray(self._host_NHWC[rows_B]))
        if self.device.type == "cuda":
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch.to(self.device)

    def batches(self) -> Iterator[Tensor]:
        """All crops in order."""
        for start in range(0, len(self), _BATCH):
            yield self.rows(np.arange(start, min(start + _BATCH, len(self))))
