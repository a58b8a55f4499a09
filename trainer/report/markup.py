"""Pieces of the page: escaped text, numbers as words, sections, sentences in place of a plot."""

from __future__ import annotations

import html
from collections.abc import Sequence

from edge.text import printable

SECTIONS = {
    "trained": "What was trained",
    "curves": "How training went",
    "retrieval": "How well animals are found",
    "similarity": "How alike the same and different animals are",
    "confusion": "Who is taken for whom",
    "clusters": "What the photos were sorted into",
    "noise": "Where the noise falls (FANA)",
}
_LONGEST_NAME = 40  # characters; a caption is some 18 wide


def text(raw: str) -> str:
    """Escaped for element content and quoted attributes."""
    return html.escape(printable(raw), quote=True)


def short(raw: str) -> str:
    """A name of a readable length: the middle of a long one is left out."""
    if len(raw) <= _LONGEST_NAME:
        return raw
    half = _LONGEST_NAME // 2
    return f"{raw[: half - 1]}…{raw[-half:]}"


def name(raw: str) -> str:
    """A name of somebody else's choosing; <bdi> keeps its writing direction to itself."""
    return f"<bdi>{text(short(raw))}</bdi>"


def percent(share: float) -> str:
    """`12 %`, `1.2 %`; a share that is neither nothing nor all is never shown as such."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    whole = share in (0, 1) or 0.1 <= share < 0.99
    return f"{100 * share:.{0 if whole else 1}f} %"


def paragraph(content: str, css_class: str = "") -> str:
    attribute = f' class="{css_class}"' if css_class else ""
    return f"<p{attribute}>{content}</p>"


def missing(content: str) -> str:
    """Why there is nothing to show here, and what gives it."""
    return paragraph(content, "missing")


def section(anchor: str, parts: Sequence[str]) -> str:
    """The section of SECTIONS under its heading."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{anchor}">\n<h2>{SECTIONS[anchor]}</h2>\n{body}\n</section>'


def link(anchor: str) -> str:
    """A link to a section, in its heading's words."""
    return f'<a href="#{anchor}">{SECTIONS[anchor]}</a>'


def table(heading: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> str:
    """A table in a box of its own that scrolls where the page is narrow; cells are markup."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in heading)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="{text(label)}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )
