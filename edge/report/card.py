"""One event of a report page: its decision in words, its pictures beside the nearest animals'."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from edge.report.words import name, period, text
from edge.text import counted, quoted

DecisionWord = Literal[
    "match", "new", "review", "unidentifiable", "blank", "human", "vehicle", "unclassified"
]
_WITHOUT_NAME: dict[DecisionWord, str] = {
    "unidentifiable": "An animal, too unclear to name",
    "blank": "No animal found",
    "human": "A person (no picture kept)",
    "vehicle": "A vehicle",
    "unclassified": "Something that is no known kind",
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    jpeg: bytes
    caption: str


@dataclass(frozen=True, kw_only=True)
class EventCard:
    """One animal in one event: what was decided, and the pictures it was decided on.

    `who` is the animal it is said to be, by a person or else by the program; `name` and
    `similarity` belong to the most similar individual, whatever the decision, and exemplars are
    that individual's pictures. A person's word is in `decision` already: what a person named is a
    match, what a person rejected is to be looked at.
    """

    event_id: str
    deployment: str
    start: datetime  # the camera's own clock
    end: datetime
    num_frames: int
    decision: DecisionWord
    individual_id: str | None  # of `who`
    who: str | None
    provisional: bool  # the program gave `who` its name
    times_seen: int  # sightings of `who`, this one among them
    said_by: str | None  # None: nobody has spoken about it
    rejected: str | None  # who a person said it is not
    name: str | None
    similarity: float | None  # mean cosine, in [-1, 1]
    runner_up_name: str | None
    runner_up_similarity: float | None
    crops: tuple[Picture, ...]
    who_exemplars: tuple[Picture, ...]  # where a person named another than the most similar
    best_exemplars: tuple[Picture, ...]
    runner_up_exemplars: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class PairCard:
    """Two animals that may be one."""

    one: str
    other: str
    similarity: float
    one_pictures: tuple[Picture, ...]
    other_pictures: tuple[Picture, ...]


def render_pair(pair: PairCard) -> str:
    merge = f"edge-gallery merge {quoted(pair.one)} {quoted(pair.other)}"
    return "\n".join(
        (
            '<article class="review">',
            f"<h3>Is {name(pair.one)} the same animal as {name(pair.other)}?</h3>",
            f'<p class="quiet">If so: <code>{text(merge)}</code></p>',
            '<div class="sides">',
            _side(name(pair.one), pair.similarity, pair.one_pictures),
            _side(name(pair.other), None, pair.other_pictures),
            "</div>",
            "</article>",
        )
    )


def render_card(event: EventCard, css_class: str, anchor: str, earlier: str | None) -> str:
    sides = [_side("This sighting", None, event.crops)]
    if event.said_by and event.who is not None and event.who != event.name:
        sides.append(_side(name(event.who), None, event.who_exemplars))
    if event.name is not None:
        sides.append(_side(name(event.name), event.similarity, event.best_exemplars))
    if event.runner_up_name is not None:
        heading = name(event.runner_up_name)
        sides.append(_side(heading, event.runner_up_similarity, event.runner_up_exemplars))
    camera = f", camera {name(event.deployment)}" if event.deployment else ""
    links = [f'<a href="#{earlier}">Sighting before</a>'] if earlier else []
    links.append('<a class="top-link" href="#top">Top</a>')
    return "\n".join(
        (
            f'<article id="{anchor}" class="{css_class}">',
            f"<h3>{sentence(event)}</h3>",
            f"<p>{period(event.start, event.end)}{camera}</p>",
            '<div class="sides">',
            *sides,
            "</div>",
            f'<footer class="quiet">Event {text(event.event_id)}. {" &middot; ".join(links)}'
            "</footer>",
            "</article>",
        )
    )


def sentence(event: EventCard) -> str:
    """The decision in plain words."""
    frames = counted(event.num_frames, "frame")
    best = name(event.name) if event.name is not None else None
    runner_up = name(event.runner_up_name) if event.runner_up_name is not None else None
    said = f" (said by {name(event.said_by)})" if event.said_by else ""
    who = name(event.who) if event.who is not None else None
    if event.decision == "match":
        seen = "Seen again" if event.provisional else "Known"
        return f"{seen}: {who or 'an animal without a name'}{said}"
    if event.decision == "new":
        again = f"; {event.times_seen} sightings of it in all" if event.times_seen > 1 else ""
        return f"New animal{f' {who}' if who else ''}, seen in {frames}{again}"
    if event.rejected is not None:
        return f"Please look: not {name(event.rejected)}{said}"
    if event.decision == "review" and best and runner_up:
        return f"Please look: {best} or {runner_up}?"
    if event.decision == "review":
        return f"Please look: is this {best}?" if best else "Please look: who is this?"
    return _WITHOUT_NAME[event.decision]


def _side(heading: str, similarity: float | None, pictures: Sequence[Picture]) -> str:
    number = ""
    if similarity is not None:
        number = f' <span class="similarity number">similarity {similarity:.2f}</span>'
    figures = "".join(_figure(picture) for picture in pictures)
    shown = f'<div class="pictures">{figures}</div>'
    if not figures:
        shown = '<p class="quiet">no picture</p>'
    return f"<section><h4>{heading}{number}</h4>{shown}</section>"


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.jpeg).decode("ascii")
    caption = text(picture.caption)
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
