"""What strace saw a watch write: bytes and syncs, by the part of the state folder."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from . import harness

_CALL = re.compile(r"\d+ +(\w+)\(\d+<([^>]*)>.*= (-?\d+)")


def costs(place: harness.Place, text: str) -> tuple[Counter[str], Counter[str]]:
    """Bytes and syncs, by the part of the state folder."""
    num_bytes: Counter[str] = Counter()
    syncs: Counter[str] = Counter()
    for line in text.splitlines():
        found = _CALL.match(line)
        if not found or not found[2].startswith(str(place.state)):
            continue
        what = (*Path(found[2]).relative_to(place.state).parts, "the folder itself")[0]
        if "sync" in found[1]:
            syncs[what] += 1
        else:
            num_bytes[what] += max(0, int(found[3]))
    return num_bytes, syncs
