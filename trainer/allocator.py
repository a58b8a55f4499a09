"""How this process takes memory from the system: kept from step to step, not fetched anew."""

from __future__ import annotations

import ctypes
import sys

# malloc.h of glibc
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER = 2**31 - 1
_STEP = 64 << 20  # bytes more than asked for, each time the heap grows


def keep_freed_memory() -> bool:
    """Let freed memory be used again without going back to the system; whether that took effect.

    On a CPU each training step frees and takes hundreds of MB, and glibc hands such blocks back
    and has them cleared again page by page: a third of a step. Other C libraries are left alone.
    """
    change = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if change is None:
        return False
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _STEP))
    return all(change(name, value) == 1 for name, value in wanted)
