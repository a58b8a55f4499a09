"""Which version of the program this is."""

from __future__ import annotations

import importlib.metadata


def version() -> str:
    return f"fancl {importlib.metadata.version('fancl')}"
