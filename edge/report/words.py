"""Text as a report page may show it: escaped names, dates."""

from __future__ import annotations

import html
from datetime import datetime

from edge.text import printable


def text(raw: str) -> str:
    """Escaped for element content and quoted attributes."""
    return html.escape(printable(raw), quote=True)


def name(raw: str) -> str:
    """A name of somebody else's choosing; <bdi> keeps its writing direction to itself."""
    return f"<bdi>{text(raw)}</bdi>"


def day(moment: datetime) -> str:
    return f"{moment.day} {moment:%b %Y}"


def period(start: datetime, end: datetime) -> str:
    """Like `1 May 2026, 06:30:12 to 06:30:20`; the second half only where it differs."""
    first = f"{day(start)}, {start:%H:%M:%S}"
    if start.replace(microsecond=0) == end.replace(microsecond=0):
        return first
    if start.date() == end.date():
        return f"{first} to {end:%H:%M:%S}"
    return f"{first} to {day(end)}, {end:%H:%M:%S}"
