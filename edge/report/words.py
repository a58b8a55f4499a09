"""Text as a report page may show it: escaped, counted, dated."""

from __future__ import annotations

import html
from datetime import datetime


def text(raw: str) -> str:
    """Escaped for element content and quoted attributes.

    What UTF-8 cannot hold becomes '?'; characters without a shape of their own (control codes,
    direction overrides) become the replacement mark.
    """
    encodable = raw.encode("utf-8", "replace").decode("utf-8")
    visible = "".join(one if one.isprintable() else "\ufffd" for one in encodable)
    return html.escape(visible, quote=True)


def name(raw: str) -> str:
    """A name of somebody else's choosing; <bdi> keeps its writing direction to itself."""
    return f"<bdi>{text(raw)}</bdi>"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
