"""In which arithmetic a run trains: as it began, as the user says, or whichever is faster here."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from trainer.encoder import Encoder, Precision, autocast, to_pixels
from trainer.rundir import resolved_precision, store_precision

Wanted = Literal["auto", "fp32", "bf16"]
_WORTH = 0.9  # bf16 is taken when its step needs less than this share of the time
_BATCH, _ROUNDS = 32, 3


def settle(
    out: Path, wanted: Wanted, encoder: Encoder, device: torch.device, say: Callable[[str], None]
) -> Precision:
    """The precision of the run in `out`, stored there so that it goes on in the same."""
    before = resolved_precision(out)
    if before is not None:
        return before
    chosen: Precision = _faster(encoder, device, say) if wanted == "auto" else wanted
    store_precision(out, chosen)
    return chosen


def _faster(encoder: Encoder, device: torch.device, say: Callable[[str], None]) -> Precision:
    fp32 = _time_steps(encoder, device, "fp32")
    bf16 = _time_steps(encoder, device, "bf16")
    best: Precision = "bf16" if bf16 < _WORTH * fp32 else "fp32"
    say(f"training in {best}: a step takes {fp32:.2f} s in fp32, {bf16:.2f} s in bf16")
    return best


def _time_steps(encoder: Encoder, device: torch.device, precision: Precision) -> float:
    """Seconds of the best of a few steps; the encoder is left as it was."""
    shape = (_BATCH, encoder.spec.height, encoder.spec.width, 3)
    images = encoder.normalise(to_pixels(torch.zeros(shape, dtype=torch.uint8, device=device)))
    images = images.contiguous(memory_format=torch.channels_last)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.train()
    took = []
    for _ in range(_ROUNDS):
        began = time.monotonic()
        with autocast(device, precision):
            emb_ND = encoder(images)
        emb_ND.sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        took.append(time.monotonic() - began)
    encoder.zero_grad(set_to_none=True)
    encoder.load_state_dict(before)  # the trial has moved the BN statistics
    return min(took)
